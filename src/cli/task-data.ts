/** @file Files for tasks whose rows have one form: texts from texts, words with tags, questions with answers. */
import {
  discoverTags,
  type TokenizedDataset,
  type Tokenizer,
  tokenClassificationColumns,
  tokenizeQuestionAnswering,
  tokenizeSeq2Seq,
  tokenizeTokenClassification,
} from '../data/index.ts'
import type { PretrainedConfig } from '../models/index.ts'
import {
  chooseLabels,
  type DataFile,
  type DataOptions,
  describeColumns,
  reportTokenized,
  spelledNames,
  within,
} from './data.ts'
import type { Output } from './output.ts'
import type { TrainableTask } from './task.ts'

/** The tasks whose rows have one form. */
export type RowTask = Extract<TrainableTask, 'SEQ_2_SEQ_LM' | 'TOKEN_CLS' | 'QUESTION_ANS'>

/** Whether the rows of a task have one form. */
export function isRowTask(task: TrainableTask): task is RowTask {
  return task === 'SEQ_2_SEQ_LM' || task === 'TOKEN_CLS' || task === 'QUESTION_ANS'
}

/** How the rows are read. */
export interface RowOptions extends Pick<DataOptions, 'columns' | 'overlong'> {
  maxLength: number
  /** The columns of the training, which are taken where the file has them and none are named. */
  recorded?: Record<string, string>
  /** The names of tags as the file spells them. */
  labels?: readonly string[]
  /** Whether rows have what is to be learnt (true). */
  hasTargets?: boolean
}

/** Tokens of a file, and the columns they came from. */
export type TokenizedRows = TokenizedDataset & { columns: Record<string, string> }

/** Tokens of a file for one of these tasks, with notes on what was done. */
export function tokenizeRows(
  task: RowTask,
  file: DataFile,
  tokenizer: Tokenizer,
  { recorded, columns, overlong, maxLength, labels, hasTargets }: RowOptions,
  output: Output,
): TokenizedRows {
  const { path, rows } = file
  const how = { columns: chosenColumns(file, columns, recorded), overlong, maxLength }
  const tokenized = within(path, () => {
    if (task === 'SEQ_2_SEQ_LM') return tokenizeSeq2Seq(rows, tokenizer, how)
    if (task === 'TOKEN_CLS') return tokenizeTokenClassification(rows, tokenizer, { ...how, labels })
    return tokenizeQuestionAnswering(rows, tokenizer, { ...how, hasAnswers: hasTargets })
  })
  reportTokenized(path, tokenized, overlong, output)
  return tokenized
}

/** `source = "prompt", target = "completion"; tags O, B-PER`. */
export function describeRows({ columns }: TokenizedRows, labels: readonly string[] | undefined): string {
  return `${describeColumns(columns)}${labels ? `; tags ${labels.join(', ')}` : ''}`
}

/** The columns that are named, else those of the training where the file has them all; else its names have to tell. */
export function chosenColumns(
  { rows }: DataFile,
  named: Record<string, string> | undefined,
  recorded: Record<string, string> = {},
): Record<string, string> | undefined {
  const columns = Object.values(recorded)
  return named ?? (columns.length && columns.every(column => rows.columns.includes(column)) ? recorded : undefined)
}

/** The tags of a training file: `--labels`, else the checkpoint's own where they cover the file's, else the file's. */
export function trainingTags(
  file: DataFile,
  { columns }: DataOptions,
  given: readonly string[] | undefined,
  config: PretrainedConfig,
): string[] {
  return given ? [...given] : chooseLabels(file, tagsIn(file, columns), config)
}

/** How a file spells the tags of a trained model: by their names, or by their numbers. */
export function spelledTags(
  file: DataFile,
  columns: Record<string, string> | undefined,
  names: readonly string[],
): string[] {
  return spelledNames(file, tagsIn(file, columns), names)
}

function tagsIn({ path, rows }: DataFile, columns: Record<string, string> | undefined): string[] {
  return within(path, () => discoverTags(rows, tokenClassificationColumns(rows, columns).tags))
}
