/** @file What models say to rows: tags of words, and answers to questions. */
import { Dataset, type Feature, IGNORE_INDEX, type Tokenizer, tokenizeTokenClassification } from '../data/index.ts'
import { argmax, bestSpan } from '../training/index.ts'
import { type DataFile, type DataOptions, longestInput, reportTokenized, within } from './data.ts'
import type { LocatedModel } from './model.ts'
import type { Output } from './output.ts'
import { chosenColumns, tokenizeRows } from './task-data.ts'

/** What a token classifier says to one row. */
export interface TagPrediction {
  /** The row in the data file, or the position among the texts. */
  index: number
  tokens: string[]
  tags: string[]
}

/** What a model that finds answers says to one row. */
export interface AnswerPrediction {
  index: number
  question: string
  /** The answer as it stands in the context; empty where there is none. */
  answer: string
}

/** Rows that were tokenised, and how the scores of each become a prediction. */
export interface Predictable<P> {
  features: Feature[]
  prediction(scores: Float32Array, i: number): P
}

/** Options that say how rows are read. */
type ReadOptions = Pick<DataOptions, 'columns' | 'maxLength' | 'overlong'>

/** A column that no file has: what is predicted needs no tags, and tokenising asks for them. */
const UNTAGGED = '\u0000tags'

/** Texts of the command line as rows of words. */
export function wordRows(texts: readonly string[]): DataFile {
  return { path: '--text', rows: new Dataset(texts.map(text => ({ tokens: text.split(/\s+/).filter(Boolean) }))) }
}

/** Rows of words for a token classifier. */
export function taggable(
  file: DataFile,
  { config, record }: LocatedModel,
  labels: readonly string[],
  tokenizer: Tokenizer,
  { columns, maxLength, overlong }: ReadOptions,
  output: Output,
): Predictable<TagPrediction> {
  const { tags: _, ...named } = chosenColumns(file, columns, onlyTokens(record?.columns)) ?? {}
  const rows = file.rows.map(row => ({
    ...row,
    [UNTAGGED]: (row[named.tokens ?? 'tokens'] as unknown[] | undefined)?.map?.(() => labels[0]),
  }))
  const length = longestInput(maxLength ?? record?.max_length ?? undefined, tokenizer, config)
  const how = { columns: { ...named, tags: UNTAGGED }, labels, maxLength: length, overlong }
  const tokens = within(file.path, () => tokenizeTokenClassification(rows, tokenizer, how))
  reportTokenized(file.path, tokens, overlong, output)
  return {
    features: tokens.features,
    prediction(scores, i) {
      const places = (tokens.features[i].labels as number[]).flatMap((label, at) =>
        label === IGNORE_INDEX ? [] : [at],
      )
      const tags = places.map(at => labels[argmax(scores.subarray(at * labels.length, (at + 1) * labels.length))])
      return { index: tokens.rows[i], tokens: tokens.words[i], tags }
    },
  }
}

const onlyTokens = (columns: Record<string, string> | undefined) => columns && { tokens: columns.tokens }

/** Rows of questions with their contexts. */
export function answerable(
  file: DataFile,
  { config, record }: LocatedModel,
  tokenizer: Tokenizer,
  { columns, maxLength, overlong }: ReadOptions,
  output: Output,
): Predictable<AnswerPrediction> {
  const recorded = record && { question: record.columns.question, context: record.columns.context }
  const length = longestInput(maxLength ?? record?.max_length ?? undefined, tokenizer, config)
  const how = { columns, recorded, maxLength: length, overlong, hasTargets: false }
  const tokens = tokenizeRows('QUESTION_ANS', file, tokenizer, how, output)
  return {
    features: tokens.features,
    prediction(scores, i) {
      const row = file.rows.at(tokens.rows[i])
      const [question, context] = [tokens.columns.question, tokens.columns.context].map(column => String(row[column]))
      const { inputIds, contextTokens } = tokens.features[i]
      const [first, last] = bestSpan(scores, contextTokens)
      const found = first < contextTokens![0] ? '' : tokenizer.decode(inputIds.slice(first, last + 1))
      return { index: tokens.rows[i], question, answer: asWritten(found.trim(), context) }
    },
  }
}

/** A decoded text as it stands in the context: tokens forget capitals and blanks. */
function asWritten(decoded: string, context: string): string {
  if (decoded === '' || context.includes(decoded)) return decoded
  const characters = [...decoded.replace(/\s+/g, '')].map(character => character.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
  return new RegExp(characters.join('\\s*'), 'iu').exec(context)?.[0] ?? decoded
}
