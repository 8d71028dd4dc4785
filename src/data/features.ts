/** @file Token features: what a row becomes before it is padded into a batch, and the rule for rows that are too long. */
import { count } from './messages.ts'
import type { Tokenizer } from './tokenizer.ts'

/** One example as tokens. */
export interface Feature {
  inputIds: number[]
  /** 1 where the model attends; all ones when absent. */
  attentionMask?: number[]
  /** Segment of each token, for models on pairs of texts. */
  tokenTypeIds?: number[]
  /**
   * A class; or one label for each token with -100 where nothing is learnt; or for sequence-to-sequence models the
   * tokens of the target; or for question answering the first and the last token of the answer.
   */
  labels: number | number[]
  /** For question answering: the first token of the context and the one behind its last, between which answers lie. */
  contextTokens?: [first: number, behind: number]
}

/** The label that the loss ignores. */
export const IGNORE_INDEX = -100

/** What happens to an example longer than the maximum: refuse the data set, leave the example out, or cut it. */
export type Overlong = 'error' | 'skip' | 'truncate'

/** An example that was longer than the maximum. */
export interface TooLong {
  /** The row in the data set. */
  index: number
  /** Its length in tokens, before any cut. */
  length: number
}

/** Features of a data set, and what was done to get them. */
export interface TokenizedDataset {
  features: Feature[]
  /** `rows[i]` is the row of the data set that feature i came from. */
  rows: number[]
  /** Every example longer than the maximum, also those that were cut or left out. */
  tooLong: TooLong[]
  /** The maximum that was used; Infinity when neither the caller nor the tokenizer gave one. */
  maxLength: number
  /** Remarks a user should read, such as columns the template does not use. */
  notes: string[]
}

/** The maximum length to use: the caller's, or the tokenizer's own. Throws unless it is a positive whole number. */
export function resolveMaxLength(maxLength: number | undefined, tokenizer: Tokenizer): number {
  if (maxLength === undefined) return tokenizer.modelMaxLength
  if (maxLength === Number.POSITIVE_INFINITY || (Number.isInteger(maxLength) && maxLength > 0)) return maxLength
  throw new Error(`maxLength is ${maxLength}; expected a whole number of tokens from 1 on.`)
}

/** Throws unless `overlong` is one of its three values. */
export function checkOverlong(overlong: Overlong): void {
  if (['error', 'skip', 'truncate'].includes(overlong)) return
  throw new Error(`overlong is "${overlong}"; expected 'error', 'skip' or 'truncate'.`)
}

/** The error for a data set with examples that are too long, with the ways out. Does nothing when there are none. */
export function refuseTooLong(tooLong: readonly TooLong[], total: number, maxLength: number): void {
  if (tooLong.length === 0) return
  const longest = tooLong.reduce((a, b) => (b.length > a.length ? b : a))
  const first = tooLong.slice(0, 5).map(({ index }) => index)
  throw new Error(
    `${tooLong.length} of ${count(total, 'row')} ${tooLong.length === 1 ? 'is' : 'are'} longer than maxLength = ` +
      `${maxLength} tokens; the longest is row ${longest.index} with ${longest.length} tokens ` +
      `(rows ${first.join(', ')}${tooLong.length > first.length ? ', ...' : ''}). Ways out: raise maxLength if the model ` +
      `takes longer inputs, leave these rows out with overlong: 'skip', or cut them with overlong: 'truncate'.`,
  )
}

/** Reads a text cell. Throws, naming row and column, for anything but a string. */
export function textCell(row: Readonly<Record<string, unknown>>, column: string, index: number): string {
  const value = row[column]
  if (typeof value === 'string') return value
  const got = value === undefined ? 'is missing' : `is ${value === null ? 'null' : `a ${typeof value}`}`
  throw new Error(`Row ${index}: column "${column}" ${got}; expected a string.`)
}
