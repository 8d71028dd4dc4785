/** @file Rows of text and label into classification features. */
import { didYouMean } from '../util/nearest.ts'
import { classOf, labelName } from './class-labels.ts'
import type { Dataset } from './dataset.ts'
import {
  checkOverlong,
  type Feature,
  type Overlong,
  refuseTooLong,
  resolveMaxLength,
  type TokenizedDataset,
  type TooLong,
  textCell,
} from './features.ts'
import { list } from './messages.ts'
import type { Tokenizer } from './tokenizer.ts'

/** Options of {@link tokenizeClassification}. */
export interface ClassificationOptions {
  /** Column of the text. Default 'text'. */
  textColumn?: string
  /** Column of the second text, for tasks on pairs. */
  pairColumn?: string
  /** Column of the label. Default 'label'. */
  labelColumn?: string
  /**
   * Label names in class order. By default they are discovered from this data set; for an evaluation set give the
   * training set's, so that both agree.
   */
  labels?: readonly string[]
  /** Longest example in tokens, special tokens included. Default: the tokenizer's maximum. */
  maxLength?: number
  /** What happens to longer examples. Default 'error'. */
  overlong?: Overlong
  /** Transformers' name for `overlong: 'truncate'`. Default false. */
  truncation?: boolean
}

/** Classification features with the names of their classes. */
export interface TokenizedClassification extends TokenizedDataset {
  /** `labels[c]` is the name of class c. */
  labels: string[]
}

/**
 * Turns rows of `{ text, label }` into features whose `labels` is the class number. Truncation cuts the text and keeps
 * the special tokens at the end. A label that is not among `labels`, or no label at all, is an error naming the row.
 */
export function tokenizeClassification(
  dataset: Dataset,
  tokenizer: Tokenizer,
  options: ClassificationOptions = {},
): TokenizedClassification {
  const { textColumn = 'text', pairColumn, labelColumn = 'label', truncation = false } = options
  const overlong = options.overlong ?? (truncation ? 'truncate' : 'error')
  checkOverlong(overlong)
  if (truncation && overlong !== 'truncate') {
    throw new Error(`truncation: true contradicts overlong: '${overlong}'. Give one of the two.`)
  }
  const maxLength = resolveMaxLength(options.maxLength, tokenizer)
  for (const column of [textColumn, labelColumn, ...(pairColumn === undefined ? [] : [pairColumn])]) {
    requireColumn(dataset, column)
  }
  const labels = options.labels ? [...options.labels] : discoverLabels(dataset, labelColumn)
  const classes = new Map(labels.map((name, index) => [name, index]))
  if (classes.size < labels.length) throw new Error(`labels names a class twice: ${list(labels)}.`)

  const features: Feature[] = []
  const rows: number[] = []
  const tooLong: TooLong[] = []
  let index = -1
  for (const row of dataset) {
    index++
    const label = classOf(row, labelColumn, index, classes)
    const text = textCell(row, textColumn, index)
    const pair = pairColumn === undefined ? undefined : textCell(row, pairColumn, index)
    let encoding = tokenizer.encode(text, { pair })
    const length = encoding.inputIds.length
    if (length > maxLength) {
      tooLong.push({ index, length })
      if (overlong !== 'truncate') continue
      encoding = tokenizer.encode(text, { pair, truncateTo: maxLength })
    }
    features.push({ ...encoding, labels: label })
    rows.push(index)
  }
  if (overlong === 'error') refuseTooLong(tooLong, dataset.length, maxLength)
  return { features, rows, labels, tooLong, maxLength, notes: [] }
}

/**
 * The label names of a data set, in an order that does not depend on the order of rows: numerically when all are whole
 * numbers (also written as strings), else alphabetically by code unit.
 */
export function discoverLabels(dataset: Dataset, labelColumn = 'label'): string[] {
  requireColumn(dataset, labelColumn)
  const names = new Set<string>()
  let index = 0
  for (const row of dataset) names.add(labelName(row, labelColumn, index++))
  const sorted = [...names].sort()
  return sorted.every(name => /^-?\d+$/.test(name)) ? sorted.sort((a, b) => Number(a) - Number(b)) : sorted
}

function requireColumn(dataset: Dataset, column: string): void {
  if (dataset.columns.includes(column)) return
  throw new Error(
    `The data set has no column "${column}".${didYouMean(column, dataset.columns)} Its columns are ` +
      `${list(dataset.columns)}. Name the right one with textColumn, pairColumn or labelColumn.`,
  )
}
