/** @file Tied parameters whose checkpoint holds a tensor under each of their names. */
import { Parameter } from '../nn/index.ts'
import type { TensorReader } from '../weights/index.ts'
import type { PreTrainedModel } from './pretrained-model.ts'

const PIECE_BYTES = 2 ** 23

/**
 * Parts tied parameters whose tensors in the checkpoint differ, as Transformers 5 does: the file knows better than
 * `tie_word_embeddings`. Equal copies stay tied.
 */
export async function untieDifferentCopies(
  model: PreTrainedModel,
  keyOf: ReadonlyMap<string, string>,
  checkpoint: TensorReader,
  warn: (message: string) => void,
): Promise<void> {
  const first = new Map<Parameter, { name: string; key: string }>()
  for (const [name, parameter] of [...model.parameterSlots()]) {
    const key = keyOf.get(name)
    if (key === undefined) continue
    const other = first.get(parameter)
    if (!other) first.set(parameter, { name, key })
    else if (!(await sameTensor(checkpoint, other.key, key))) {
      const at = name.lastIndexOf('.')
      const own = new Parameter(parameter.shape, { init: parameter.init })
      Object.assign(model.getSubmodule(name.slice(0, at)), { [name.slice(at + 1)]: own })
      warn(
        `${model.config.label}: tie_word_embeddings is true, but the checkpoint holds different values for ` +
          `"${other.name}" and "${name}"; they were not tied. Set tie_word_embeddings to false to say so.`,
      )
    }
  }
}

async function sameTensor(checkpoint: TensorReader, a: string, b: string): Promise<boolean> {
  // What is made of packed tensors has no bytes of its own to compare.
  if (!checkpoint.has(a) || !checkpoint.has(b)) return false
  const [left, right] = [checkpoint.info(a), checkpoint.info(b)]
  if (left.dtype !== right.dtype || left.byteLength !== right.byteLength) return false
  for (let begin = 0; begin < left.byteLength; begin += PIECE_BYTES) {
    const range = { begin, end: Math.min(begin + PIECE_BYTES, left.byteLength) }
    const [x, y] = await Promise.all([checkpoint.read(a, range), checkpoint.read(b, range)])
    if (Buffer.compare(x, y) !== 0) return false
  }
  return true
}
