/** @file `packBatch`: features of different lengths in as few rows as hold them, for models that keep them apart. */
import { type IntTensor, type PadOptions, padBatch } from './collate.ts'
import { type Feature, IGNORE_INDEX } from './features.ts'

/** A batch of rows that hold several texts each, under the names that models give their inputs. */
export interface PackedBatch {
  /** [rows, length] */
  input_ids: IntTensor
  /** [rows, length]; 0 on padding. */
  attention_mask: IntTensor
  /** [rows, length]; counted anew in each text. */
  position_ids: IntTensor
  /** [rows, length]; which text of its row a token belongs to, from 1 on, and 0 on padding. */
  segment_ids: IntTensor
  /** [rows, length]; -100 on padding, and on the first token of each text: nothing of that text predicts it. */
  labels: IntTensor
}

/**
 * Distributes texts over rows of the length of the longest: the longest first, each into the first row that has room for
 * it, within each row in the order of the texts.
 *
 * @returns the texts of each row
 */
export function packRows(lengths: readonly number[]): number[][] {
  const order = lengths.map((_, i) => i).sort((a, b) => lengths[b] - lengths[a] || a - b)
  const limit = lengths[order[0]] ?? 0
  const rows: { texts: number[]; room: number }[] = []
  for (const i of order) {
    let row = rows.find(({ room }) => room >= lengths[i])
    if (!row) rows.push((row = { texts: [], room: limit }))
    row.texts.push(i)
    row.room -= lengths[i]
  }
  return rows.map(({ texts }) => texts.sort((a, b) => a - b))
}

/**
 * Packs features with token labels into rows as long as the longest of them. A model that keeps the segments apart
 * computes of them what it computes of a row each. Throws as {@link padBatch} does, and for features with one class.
 */
export function packBatch(features: readonly Feature[], options: PadOptions): PackedBatch {
  const rows = packRows(features.map(({ inputIds }) => inputIds.length))
  const joined = rows.map(texts => joinFeatures(texts.map(i => features[i])))
  const { input_ids, attention_mask, labels } = padBatch(joined, options)
  const [count, length] = input_ids.dims
  const fill = (numbersOf: (texts: readonly Feature[]) => number[]): IntTensor => {
    const data = new BigInt64Array(count * length)
    rows.forEach((texts, row) => {
      numbersOf(texts.map(i => features[i])).forEach((value, i) => {
        data[row * length + i] = BigInt(value)
      })
    })
    return { dtype: 'int64', dims: [count, length], data }
  }
  return {
    input_ids,
    attention_mask,
    position_ids: fill(texts => texts.flatMap(({ inputIds }) => inputIds.map((_, i) => i))),
    segment_ids: fill(texts => texts.flatMap(({ inputIds }, i) => inputIds.map(() => i + 1))),
    labels,
  }
}

function joinFeatures(texts: readonly Feature[]): Feature {
  return {
    inputIds: texts.flatMap(({ inputIds }) => [...inputIds]),
    labels: texts.flatMap(({ labels }, i) => {
      if (Array.isArray(labels)) return [IGNORE_INDEX, ...labels.slice(1)]
      throw new Error(`Could not pack: feature ${i} has one class and not a label for each token.`)
    }),
  }
}
