/** @file Which tensor of a checkpoint belongs to which parameter: base models in head models and back, and old names. */
import type { JoinedTensor, TensorReader } from '../weights/index.ts'
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

/**
 * The parameters of `model` that the checkpoint holds in several tensors, such as the experts of a layer, by the names
 * that the joined tensors get. Throws where a part is missing or has another shape than the others.
 */
export function findJoined(model: PreTrainedModel, checkpoint: TensorReader): Map<string, JoinedTensor> {
  const found = new Map<string, string[]>()
  for (const key of checkpoint.names) {
    const part = model.partOf(model.currentName(key))
    if (!part) continue
    const parts = found.get(part.name) ?? []
    parts[part.index] = key
    found.set(part.name, parts)
  }
  const parameters = new Map(model.parameterSlots())
  return new Map([...found].map(([name, parts]) => [name, join(name, parts, parameters.get(name)?.shape, checkpoint)]))
}

function join(
  name: string,
  parts: readonly string[],
  wanted: readonly number[] | undefined,
  checkpoint: TensorReader,
): JoinedTensor {
  const first = checkpoint.info(parts.find(Boolean)!)
  const missing = Array.from<string | undefined>(parts).indexOf(undefined)
  if (missing >= 0) {
    throw new Error(
      `${first.path}: "${name}" is stored in ${parts.length} parts, of which number ${missing} is missing; ` +
        'take the whole checkpoint',
    )
  }
  for (const part of parts) {
    const { path, shape, dtype } = checkpoint.info(part)
    if (shape.join() === first.shape.join() && dtype === first.dtype) continue
    throw new Error(
      `${path}: tensor "${part}" is ${dtype} [${shape.join(', ')}], expected ${first.dtype} ` +
        `[${first.shape.join(', ')}] as the other parts of "${name}"`,
    )
  }
  const size = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1)
  const fits = wanted && size(wanted) === parts.length * size(first.shape) && wanted.at(-1) === first.shape.at(-1)
  const shape = fits ? wanted : [parts.length, ...first.shape]
  return { name, parts, shape, dtype: first.dtype, path: first.path }
}
