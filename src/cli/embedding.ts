/** @file Sentence embeddings in the commands that train, measure and merge: the model around its transformer, and data. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Tokenizer } from '../data/index.ts'
import {
  type EmbeddingLoss,
  EmbeddingTask,
  SentenceTransformer,
  type TokenizedEmbeddings,
  type Transformer,
} from '../embeddings/index.ts'
import { openEmbeddingAround } from '../embeddings/load.ts'
import { type DataFile, type DataOptions, describeColumns, longestInput, reportTokenized, within } from './data.ts'
import { UsageError } from './exit.ts'
import { formatCount } from './format.ts'
import type { LocatedModel } from './model.ts'
import type { Output } from './output.ts'
import { chosenColumns } from './task-data.ts'
import type { DataFiles, TrainingData } from './training-data.ts'

/** The options that say how embeddings are trained and measured. */
export interface EmbeddingOptions extends Pick<DataOptions, 'columns' | 'maxLength' | 'overlong'> {
  loss?: EmbeddingLoss
}

/** Refuses options that say nothing about the task. */
export function checkEmbeddingOptions(
  { task }: LocatedModel,
  { loss, method }: EmbeddingOptions & { method?: string },
): void {
  if (method === 'head' && task === 'FEATURE_EXTRACTION') {
    throw new UsageError('--method head trains a classifier, and an embedding has none; take an adapter, or full')
  }
  if (loss !== undefined && task !== 'FEATURE_EXTRACTION') throw new UsageError('--loss belongs to --task embedding')
}

/** The embedding around a transformer: pooling and what follows are the adapter's where it has them, else the model's. */
export async function openEmbedding(
  { name, folder, adapterFolder, config, record }: LocatedModel,
  transformer: Transformer,
  tokenizer: Tokenizer,
  { maxLength }: Pick<EmbeddingOptions, 'maxLength'>,
  output: Output,
): Promise<SentenceTransformer> {
  const own = adapterFolder && existsSync(join(adapterFolder, 'modules.json')) ? adapterFolder : folder
  const onWarning = (message: string) => output.note(message)
  const parts = await openEmbeddingAround(own, { name, transformer, tokenizer, onWarning })
  const longest = maxLength ?? record?.max_length ?? undefined
  if (longest === undefined) return new SentenceTransformer(parts)
  const maxSeqLength = longestInput(longest, tokenizer, config)
  return new SentenceTransformer({ ...parts, settings: { ...parts.settings, maxSeqLength } })
}

/** How an embedding is trained, or was, by the columns of a file. */
export function embeddingTask(
  embedding: SentenceTransformer,
  file: DataFile,
  { columns, loss }: EmbeddingOptions,
  { record }: Partial<Pick<LocatedModel, 'record'>> = {},
): EmbeddingTask {
  const chosen = chosenColumns(file, columns, record?.columns)
  const isSame = chosen !== undefined && chosen === record?.columns
  return within(file.path, () =>
    EmbeddingTask.for(embedding, file.rows, { columns: chosen, loss: loss ?? (isSame ? record?.loss : undefined) }),
  )
}

/** The examples of a file, with notes on what was done. */
export function tokenizeEmbeddings(
  task: EmbeddingTask,
  { path, rows }: DataFile,
  { overlong = 'error' }: EmbeddingOptions,
  output: Output,
): TokenizedEmbeddings {
  const tokenized = within(path, () => task.tokenize(rows, { overlong }))
  reportTokenized(path, tokenized, overlong, output)
  return tokenized
}

/** `anchor = "question", positive = "answer"; loss multiple_negatives_ranking`. */
export function describeEmbeddings({ roles, loss }: EmbeddingTask): string {
  return `${describeColumns(roles)}; loss ${loss}`
}

/**
 * The examples of a training.
 *
 * @throws {UsageError} for batches of one row where rows are compared with each other
 */
export function embeddingData(
  task: EmbeddingTask,
  embedding: SentenceTransformer,
  files: DataFiles,
  options: EmbeddingOptions & { batchSize: number },
  output: Output,
): TrainingData<TokenizedEmbeddings> {
  const { train, evaluation: held } = files
  const sizes = `${formatCount(train.rows.length)} training rows${held ? `, ${formatCount(held.rows.length)} for evaluation` : ''}`
  output.note(`data: ${describeEmbeddings(task)}; ${sizes}`)
  const tokens = tokenizeEmbeddings(task, train, options, output)
  if (task.needsOthers && Math.min(options.batchSize, tokens.features.length) < 2) {
    throw new UsageError(
      `The loss ${task.loss} compares the rows of a batch with each other, and there is one alone; ` +
        (options.batchSize < 2 ? 'take --batch-size 2 or more' : 'give more rows'),
    )
  }
  for (const column of Object.values(task.roles)) {
    if (!held || held.rows.columns.includes(column)) continue
    throw new Error(
      `${held.path} has no column "${column}", which ${train.path} has; its columns are ${held.rows.columns.join(', ')}.`,
    )
  }
  const { maxSeqLength } = embedding
  return {
    train: tokens,
    evaluation: held && tokenizeEmbeddings(task, held, options, output),
    record: {
      columns: { ...task.roles },
      format: null,
      labels: null,
      max_length: Number.isFinite(maxSeqLength) ? maxSeqLength : null,
      loss: task.loss,
    },
  }
}
