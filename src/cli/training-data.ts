/** @file The data of a training: files read, the evaluation part split off, classes found, texts tokenised. */
import type { TokenizedDataset, Tokenizer } from '../data/index.ts'
import type { PreparedExamples } from '../training/index.ts'
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
import { type MediaCommandOptions, type Medium, mediumOf, prepareMedia, readMedia, speechPrompt } from './media.ts'
import type { LocatedModel } from './model.ts'
import type { Output } from './output.ts'
import type { TrainingRecord } from './record.ts'
import { describeRows, isRowTask, tokenizeRows, trainingTags } from './task-data.ts'

/** The options that say which data is trained and evaluated on. */
export interface TrainingDataOptions extends DataOptions, MediaCommandOptions {
  data: string
  evalData?: string
  evalSplit?: number
  labels?: string[]
  seed: number
}

/** Tokenised data, and how it was read. */
export interface TrainingData<T = TokenizedDataset | PreparedExamples<unknown>> {
  train: T
  evaluation: T | undefined
  record: Pick<TrainingRecord, 'columns' | 'format' | 'labels' | 'max_length' | 'speech' | 'loss'>
}

/** The files of a training. */
export interface DataFiles {
  train: DataFile
  evaluation: DataFile | undefined
  /** The columns that were read, where that is known before the rows are tokenised. */
  columns?: Record<string, string>
}

/** Reads the files; with `--eval-split` a part of the rows is held out, of each class its share. */
export async function readFiles(
  options: TrainingDataOptions,
  located: LocatedModel,
  output: Output,
): Promise<DataFiles> {
  const { task } = located
  const medium = mediumOf(located)
  const read = (path: string, how: TrainingDataOptions, part: 'train' | 'evaluation') =>
    medium ? readMedia(path, medium, how, { part }, output) : readRows(path, how)
  const all: DataFile & { columns?: Record<string, string> } = await read(options.data, options, 'train')
  const { columns } = all
  if (options.evalData !== undefined) {
    const evaluation = await read(options.evalData, { ...options, limit: undefined }, 'evaluation')
    return { train: all, evaluation, columns }
  }
  if (options.evalSplit === undefined) return { train: all, evaluation: undefined, columns }
  const stratify =
    task === 'SEQ_CLS' ? classificationColumns(all, options).labelColumn : medium === 'image' ? 'label' : undefined
  const [rows, held] = within(all.path, () =>
    all.rows.split({ test: options.evalSplit!, seed: options.seed, stratify }),
  )
  return { train: { path: all.path, rows }, evaluation: { path: `${all.path} (held out)`, rows: held }, columns }
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
  if (task === 'IMAGE_CLS') return trainingLabels(file, 'label', options.labels, config)
  if (options.labels) throw new UsageError('--labels belongs to --task seq_cls, token_cls and image_cls')
  return undefined
}

/** Files, and what they are prepared for a model with. */
export interface Preparation<T extends Tokenizer | undefined = Tokenizer | undefined> {
  options: TrainingDataOptions
  located: LocatedModel
  files: DataFiles
  /** The classes of a classifier. */
  labels: readonly string[] | undefined
  /** Undefined for models of images. */
  tokenizer: T
  signal?: AbortSignal
}

/** Prepares the files for the model, telling how they were read. */
export async function prepareFiles(preparation: Preparation, output: Output): Promise<TrainingData> {
  const { located, tokenizer } = preparation
  const medium = mediumOf(located)
  if (medium) return decodeFiles(medium, preparation, output)
  return tokenizeFiles({ ...preparation, tokenizer: tokenizer! }, output)
}

async function decodeFiles(
  medium: Medium,
  { options, located, files, labels, tokenizer, signal }: Preparation,
  output: Output,
): Promise<TrainingData> {
  const prompt = medium === 'speech' ? await speechPrompt(located, options, tokenizer!) : undefined
  const how = { labels, tokenizer, prompt }
  const flipSeed = options.flip ? options.seed : undefined
  const prepare = (file: DataFile, more: { flipSeed?: number } = {}) =>
    prepareMedia(medium, file, located, options, { ...how, ...more }, output, signal)
  const train = await prepare(files.train, { flipSeed })
  const evaluation = files.evaluation && (await prepare(files.evaluation))
  const held = evaluation ? `, ${formatCount(evaluation.features.length)} for evaluation` : ''
  const about = labels
    ? `classes ${labels.join(', ')}`
    : prompt?.language
      ? `${prompt.task}, spoken language ${prompt.language}`
      : 'transcripts'
  output.note(`data: ${about}; ${formatCount(train.features.length)} for training${held}`)
  const speech = prompt && { language: prompt.language, task: prompt.task }
  return {
    train,
    evaluation,
    record: {
      columns: files.columns ?? {},
      format: null,
      labels: labels ? [...labels] : null,
      max_length: medium === 'speech' ? (options.maxLength ?? null) : null,
      ...(speech && { speech }),
    },
  }
}

/** Tokenises the files, telling which columns were chosen. */
export function tokenizeFiles(
  { options, located, files, labels, tokenizer }: Preparation<Tokenizer>,
  output: Output,
): TrainingData<TokenizedDataset> {
  const { task, config } = located
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
