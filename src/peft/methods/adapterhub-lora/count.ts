/** @file How many values an adapter of AdapterHub's LoRA family trains, in closed form. */
import type { Linear, Module } from '../../../nn/index.ts'
import type { ModelFacts } from '../../method.ts'
import { type AdapterHubLoraConfig, isVera } from './config.ts'
import { blocksOf } from './layer.ts'
import { isFused } from './places.ts'

/** The number of trained values, from the sizes of the target modules. */
export function countHubLora(
  config: AdapterHubLoraConfig,
  targets: ReadonlyMap<string, Module>,
  model: ModelFacts,
): number {
  const { r, compositionMode, useDora, useGating } = config
  let total = 0
  for (const [path, module] of targets) {
    const { inFeatures, outFeatures } = module as Linear
    const { chosen, width } = blocksOf(config, outFeatures, isFused(config, path, model))
    const changed = chosen.length * width
    if (compositionMode === 'scale') total += changed
    else if (isVera(config)) total += r ** 2 + changed ** 2
    else total += r * (chosen.length * inFeatures + changed)
    if (useDora) total += outFeatures
    if (useGating) total += chosen.length * (inFeatures + 1)
  }
  return total
}
