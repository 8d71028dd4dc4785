/** @file Rows of a text and the text that is made of it, into features of sequence-to-sequence models. */
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
import { type Role, resolveRoles } from './roles.ts'
import type { Tokenizer } from './tokenizer.ts'

/** Options of {@link tokenizeSeq2Seq}. */
export interface Seq2SeqOptions {
  /** The parts `source` and `target` to the data set's columns. Default: what their names tell. */
  columns?: Record<string, string>
  /** Longest source in tokens, special tokens included. Default: the tokenizer's maximum. */
  maxLength?: number
  /** Longest target in tokens, special tokens included. Default: `maxLength`. */
  maxTargetLength?: number
  /** What happens to rows of which either text is longer. 'truncate' cuts both. Default 'error'. */
  overlong?: Overlong
}

/** Sequence-to-sequence features, and the columns they came from. */
export interface TokenizedSeq2Seq extends TokenizedDataset {
  /** `source` and `target` to the data set's columns. */
  columns: Record<string, string>
}

const ROLES: Readonly<Record<'source' | 'target', Role>> = {
  source: { names: ['source', 'prompt', 'input', 'question', 'document', 'article', 'text'] },
  target: { names: ['target', 'completion', 'output', 'answer', 'summary', 'highlights'] },
}

/**
 * Turns rows of `{ source, target }` (or `{ prompt, completion }` and the like) into features: the source as the
 * encoder reads it, and as labels the target with what the tokenizer puts around a text, such as the token that ends it.
 * What the decoder reads is made of the labels by the model. A target without any token of its own is an error.
 */
export function tokenizeSeq2Seq(
  dataset: Dataset,
  tokenizer: Tokenizer,
  options: Seq2SeqOptions = {},
): TokenizedSeq2Seq {
  const { overlong = 'error' } = options
  checkOverlong(overlong)
  const maxLength = resolveMaxLength(options.maxLength, tokenizer)
  const maxTarget = resolveMaxLength(options.maxTargetLength ?? options.maxLength, tokenizer)
  const columns = resolveRoles(dataset, ROLES, options.columns)
  const features: Feature[] = []
  const rows: number[] = []
  const tooLong: TooLong[] = []
  let index = -1
  for (const row of dataset) {
    index++
    const [source, target] = [columns.source, columns.target].map(column => textCell(row, column, index))
    if (target === '') {
      throw new Error(
        `Row ${index}: nothing would be learnt, since its target is empty. Fill it, or leave the row out.`,
      )
    }
    let encoding = tokenizer.encode(source)
    let labels = tokenizer.encode(target).inputIds
    const [length, targetLength] = [encoding.inputIds.length, labels.length]
    if (length > maxLength || targetLength > maxTarget) {
      tooLong.push({ index, length: length > maxLength ? length : targetLength })
      if (overlong !== 'truncate') continue
      encoding = tokenizer.encode(source, { truncateTo: maxLength })
      labels = tokenizer.encode(target, { truncateTo: maxTarget }).inputIds
    }
    features.push({ ...encoding, labels })
    rows.push(index)
  }
  if (overlong === 'error') refuseTooLong(tooLong, dataset.length, Math.min(maxLength, maxTarget))
  return { features, rows, tooLong, maxLength, notes: [], columns }
}
