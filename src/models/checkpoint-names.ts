/** @file Which tensor of a checkpoint belongs to which parameter: base models in head models and back, and old names. */
import type { PreTrainedModel } from './pretrained-model.ts'

/** The tensors of a checkpoint, told apart. */
export interface NameMatch {
  /** From the name of a parameter (tied ones under each of their names) to its tensor's. */
  keyOf: Map<string, string>
  /** The tensors that no parameter takes. */
  unexpected: string[]
}

/**
 * Finds the tensor of each parameter. A tensor's own name counts first, then its name with the base model's prefix
 * added or taken away (`encoder.layer.0` and `bert.encoder.layer.0`), as in Transformers.
 */
export function matchNames(model: PreTrainedModel, tensors: readonly string[]): NameMatch {
  const parameters = new Set([...model.parameterSlots()].map(([name]) => name))
  const prefix = `${model.baseModelPrefix}.`
  const keyOf = new Map<string, string>()
  const rest: { key: string; name: string }[] = []
  for (const key of tensors) {
    if (model.ignoredTensors.some(pattern => pattern.test(key))) continue
    const name = model.currentName(key)
    if (parameters.has(name) && !keyOf.has(name)) keyOf.set(name, key)
    else rest.push({ key, name })
  }
  const unexpected: string[] = []
  for (const { key, name } of rest) {
    const candidates = [prefix + name, name.startsWith(prefix) ? name.slice(prefix.length) : undefined]
    const match = candidates.find(candidate => candidate && parameters.has(candidate) && !keyOf.has(candidate))
    if (match) keyOf.set(match, key)
    else unexpected.push(key)
  }
  return { keyOf, unexpected }
}
