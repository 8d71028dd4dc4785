/** @file `padBatch`: features of different lengths into one rectangular batch. */
import { type Feature, IGNORE_INDEX } from './features.ts'

/** A tensor of 64-bit integers in plain data, row by row. */
export interface IntTensor {
  dtype: 'int64'
  dims: number[]
  data: BigInt64Array
}

/** A batch under the names that models give their inputs. */
export interface Batch {
  /** [batch, length] */
  input_ids: IntTensor
  /** [batch, length]; 0 on padding. */
  attention_mask: IntTensor
  /** [batch, length]; present when the features have it. */
  token_type_ids?: IntTensor
  /** [batch] of classes, or [batch, length] of token labels with -100 on padding. */
  labels: IntTensor
}

/** Rows of whole numbers as one tensor, filled up on the right to the longest of them, rounded up to a multiple. */
export function padRows(rows: readonly (readonly number[])[], fill: number, multiple = 1): IntTensor {
  const longest = Math.max(1, ...rows.map(row => row.length))
  const length = Math.ceil(longest / multiple) * multiple
  const data = new BigInt64Array(rows.length * length).fill(BigInt(fill))
  rows.forEach((row, i) => {
    for (let j = 0; j < row.length; j++) data[i * length + j] = BigInt(row[j])
  })
  return { dtype: 'int64', dims: [rows.length, length], data }
}

/** Options of {@link padBatch}. */
export interface PadOptions {
  /** The token that fills up rows: the tokenizer's `padTokenId`. */
  padTokenId: number
  /** Round the length up to a multiple of this. */
  padToMultipleOf?: number
  /** Where padding goes: 'right' for training, 'left' for generation. Default 'right'. */
  paddingSide?: 'right' | 'left'
}

/**
 * Pads features to the longest of them and stacks them. Padding has attention 0, type 0 and label -100. Throws for an
 * empty batch, and for features that do not agree with themselves or each other.
 */
export function padBatch(features: readonly Feature[], options: PadOptions): Batch {
  const { padTokenId, padToMultipleOf = 1, paddingSide = 'right' } = options
  if (features.length === 0) throw new Error('Could not form a batch of no features.')
  if (!Number.isInteger(padTokenId) || padTokenId < 0) {
    throw new Error(
      `Could not pad: padTokenId is ${padTokenId}. A tokenizer without padding and end-of-text token has none; name the ` +
        `token to use.`,
    )
  }
  if (!Number.isInteger(padToMultipleOf) || padToMultipleOf < 1) {
    throw new Error(`Could not pad: padToMultipleOf is ${padToMultipleOf}; expected a whole number from 1 on.`)
  }
  if (paddingSide !== 'right' && paddingSide !== 'left') {
    throw new Error(`Could not pad: paddingSide is "${paddingSide}"; expected 'right' or 'left'.`)
  }
  const perToken = Array.isArray(features[0].labels)
  const hasTypes = features[0].tokenTypeIds !== undefined
  features.forEach((feature, i) => {
    checkFeature(feature, i, perToken, hasTypes)
  })
  const longest = Math.max(1, ...features.map(({ inputIds }) => inputIds.length))
  const length = Math.ceil(longest / padToMultipleOf) * padToMultipleOf

  const stack = (rowOf: (feature: Feature) => readonly number[], fill: number): IntTensor => {
    const data = new BigInt64Array(features.length * length).fill(BigInt(fill))
    features.forEach((feature, i) => {
      const row = rowOf(feature)
      const start = i * length + (paddingSide === 'left' ? length - row.length : 0)
      for (let j = 0; j < row.length; j++) data[start + j] = BigInt(row[j])
    })
    return { dtype: 'int64', dims: [features.length, length], data }
  }
  const batch: Batch = {
    input_ids: stack(feature => feature.inputIds, padTokenId),
    attention_mask: stack(feature => feature.attentionMask ?? feature.inputIds.map(() => 1), 0),
    labels: perToken
      ? stack(feature => feature.labels as number[], IGNORE_INDEX)
      : {
          dtype: 'int64',
          dims: [features.length],
          data: BigInt64Array.from(features, feature => BigInt(feature.labels as number)),
        },
  }
  if (hasTypes) batch.token_type_ids = stack(feature => feature.tokenTypeIds!, 0)
  return batch
}

function checkFeature(feature: Feature, i: number, perToken: boolean, hasTypes: boolean): void {
  const { inputIds, attentionMask, tokenTypeIds, labels } = feature
  if (Array.isArray(labels) !== perToken) {
    throw new Error(
      `Could not form a batch: feature 0 has ${perToken ? 'token labels' : 'a class'} and feature ${i} has ` +
        `${perToken ? 'a class' : 'token labels'}. Batch the two tasks apart.`,
    )
  }
  if ((tokenTypeIds !== undefined) !== hasTypes) {
    throw new Error(
      `Could not form a batch: of features 0 and ${i} only one has tokenTypeIds. Encode both with the same tokenizer.`,
    )
  }
  for (const [name, values] of Object.entries({ attentionMask, tokenTypeIds, labels })) {
    if (Array.isArray(values) && values.length !== inputIds.length) {
      throw new Error(
        `Could not form a batch: feature ${i} has ${values.length} ${name} for ${inputIds.length} inputIds; they must match.`,
      )
    }
  }
}
