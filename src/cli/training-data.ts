/** @file The data of a training: files read, the evaluation part split off, classes found, texts tokenised. */
import type { TokenizedDataset, Tokenizer } from '../data/index.ts'
import {
  classificationColumns,
  columnRoles,
  type DataFile,
  type DataOptions,
  describeColumns,
  longestInput,
  readRows,
  tokenizeLabelled,
  tokenizeText,
  trainingLabels,
  within,
} from './data.ts'
import { UsageError } from './exit.ts'
import { formatCount } from './format.ts'
import type { LocatedModel } from './model.ts'
import type { Output } from './output.ts'
import type { TrainingRecord } from './record.ts'
import { describeRows, isRowTask, tokenizeRows, trainingTags } from './task-data.ts'

/** The options that say which data is trained and evaluated on. */
export interface TrainingDataOptions extends DataOptions {
  data: string
  evalData?: string
  evalSplit?: number
  labels?: string[]
  seed: number
}

/** Tokenised data, and how it was read. */
export interface TrainingData {
  train: TokenizedDataset
  evaluation: TrainingData['train'] | undefined
  record: Pick<TrainingRecord, 'columns' | 'format' | 'labels' | 'max_length'>
}

/** The files of a training. */
export interface DataFiles {
  train: DataFile
  evaluation: DataFile | undefined
}

/** Reads the files; with `--eval-split` a part of the rows is held out, of each class its share. */
export async function readFiles(options: TrainingDataOptions, { task }: LocatedModel): Promise<DataFiles> {
  const all = await readRows(options.data, options)
  if (options.evalData !== undefined) {
    return { train: all, evaluation: await readRows(options.evalData, { ...options, limit: undefined }) }
  }
  if (options.evalSplit === undefined) return { train: all, evaluation: undefined }
  const stratify = task === 'SEQ_CLS' ? classificationColumns(all, options).labelColumn : undefined
  const [rows, held] = within(all.path, () =>
    all.rows.split({ test: options.evalSplit!, seed: options.seed, stratify }),
  )
  return { train: { path: all.path, rows }, evaluation: { path: `${all.path} (held out)`, rows: held } }
}

/** The classes of a classifier of texts or words; undefined for other models. */
export function labelsOf(
  options: TrainingDataOptions,
  { task, config }: LocatedModel,
  file: DataFile,
): string[] | undefined {
  if (task === 'SEQ_CLS') {
    return trainingLabels(file, classificationColumns(file, options).labelColumn, options.labels, config)
  }
  if (task === 'TOKEN_CLS') return trainingTags(file, options, options.labels, config)
  if (options.labels) throw new UsageError('--labels belongs to --task seq_cls and token_cls')
  return undefined
}

/** Tokenises the files, telling which columns were chosen. */
export function tokenizeFiles(
  options: TrainingDataOptions,
  { task, config }: LocatedModel,
  files: DataFiles,
  labels: readonly string[] | undefined,
  tokenizer: Tokenizer,
  output: Output,
): TrainingData {
  const { overlong } = options
  const maxLength = longestInput(options.maxLength, tokenizer, config)
  const max_length = Number.isFinite(maxLength) ? maxLength : null
  const held = files.evaluation
  const sizes = `${formatCount(files.train.rows.length)} training rows${held ? `, ${formatCount(held.rows.length)} for evaluation` : ''}`
  if (task === 'SEQ_CLS') {
    const columns = classificationColumns(files.train, options)
    output.note(`data: ${describeColumns(columnRoles(columns))}; classes ${labels!.join(', ')}; ${sizes}`)
    const how = { ...columns, labels, maxLength, overlong }
    return {
      train: tokenizeLabelled(files.train, tokenizer, how, output),
      evaluation:
        held &&
        tokenizeLabelled(
          held,
          tokenizer,
          { ...how, ...classificationColumns(held, options, { recorded: columnRoles(columns) }) },
          output,
        ),
      record: { columns: columnRoles(columns), format: null, labels: [...labels!], max_length },
    }
  }
  if (isRowTask(task)) {
    const how = { columns: options.columns, overlong, maxLength, labels }
    const tokens = tokenizeRows(task, files.train, tokenizer, how, output)
    output.note(`data: ${describeRows(tokens, labels)}; ${sizes}`)
    const evaluation =
      held && tokenizeRows(task, held, tokenizer, { ...how, columns: tokens.columns, maxLength }, output)
    const record = { columns: tokens.columns, format: null, labels: labels ? [...labels] : null, max_length }
    return { train: tokens, evaluation, record }
  }
  const how = { maxLength, overlong, columns: options.columns, format: options.format }
  const tokens = tokenizeText(files.train, tokenizer, how, output)
  const { format, columns } = tokens
  output.note(`data: format ${format} (${describeColumns(columns)}); ${sizes}`)
  return {
    train: tokens,
    evaluation: held && tokenizeText(held, tokenizer, { ...how, format, columns }, output),
    record: { columns, format, labels: null, max_length },
  }
}
