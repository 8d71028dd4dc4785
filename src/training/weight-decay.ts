/** @file Which parameters decay: not the biases, and not those of normalisations. */
import { LayerNorm, type Module, type Parameter, RMSNorm } from '../nn/index.ts'

/** Transformers' patterns of names, matched against the lower-case name. */
const SPARED = [/bias/, /layernorm/, /rmsnorm/, /(?:^|\.)norm(?:$|\.)/, /_norm(?:$|\.)/]

/**
 * The rule of Transformers' Trainer: a parameter decays unless its name says bias or norm, or it belongs to a
 * normalisation layer ({@link LayerNorm}, and here also {@link RMSNorm} whatever its name).
 *
 * @returns for an optimizer's `decays`
 */
export function decayRule(module: Module): (name: string, parameter: Parameter) => boolean {
  const norms = new Set<Parameter>()
  for (const [, part] of module.namedModules()) {
    if (!(part instanceof LayerNorm || part instanceof RMSNorm)) continue
    for (const parameter of part.parameters()) norms.add(parameter)
  }
  return (name, parameter) => !norms.has(parameter) && !SPARED.some(pattern => pattern.test(name.toLowerCase()))
}
