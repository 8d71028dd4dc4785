/** @file `peft evaluate`. */
import type { Feature, SpeechFeature, TokenizedDataset, Tokenizer } from '../../data/index.ts'
import { type PreparedExamples, Trainer } from '../../training/index.ts'
import {
  classificationColumns,
  columnRoles,
  type DataFile,
  type DataOptions,
  describeColumns,
  longestInput,
  readRows,
  spelledLabels,
  tokenizeLabelled,
  tokenizeText,
} from '../data.ts'
import {
  checkEmbeddingOptions,
  describeEmbeddings,
  type EmbeddingOptions,
  embeddingTask,
  openEmbedding,
  tokenizeEmbeddings,
} from '../embedding.ts'
import { UsageError } from '../exit.ts'
import { formatCount, formatMetric } from '../format.ts'
import { textMetrics, writeTexts } from '../generated.ts'
import {
  checkMediaOptions,
  longestText,
  type MediaCommandOptions,
  mediumOf,
  prepareMedia,
  readMedia,
  speechPrompt,
} from '../media.ts'
import { peakMemoryBytes } from '../memory.ts'
import { classNamesOf, type LocatedModel, locateModel, type ModelOptions, openModel, openTokenizer } from '../model.ts'
import type { Output } from '../output.ts'
import { hasLabels, type TrainableTask, taskOptionOf } from '../task.ts'
import { chosenColumns, describeRows, isRowTask, spelledTags, tokenizeRows } from '../task-data.ts'

/** Options of commands that run a model over data. */
export interface RunModelOptions extends ModelOptions, DataOptions, MediaCommandOptions {
  labels?: string[]
  batchSize: number
  seed: number
  mode: 'fast' | 'small'
  threads?: number
  keepPacked: boolean
}

/** The options of `peft evaluate`. */
export interface EvaluateOptions extends RunModelOptions, EmbeddingOptions {
  data: string
  /** Whether models with an encoder also write their texts, which are compared with the expected ones. */
  generate: boolean
  maxNewTokens?: number
}

/** Answers may have at least so many tokens; else twice as many as the longest that is expected. */
const SHORTEST_LIMIT = 32

/** Prints the metrics of a model on a data file. */
export async function evaluate(options: EvaluateOptions, output: Output, signal?: AbortSignal): Promise<void> {
  const started = performance.now()
  const located = await locateModel(options, output)
  const { task } = located
  if (!hasLabels(task) && options.labels)
    throw new UsageError('--labels belongs to --task seq_cls, token_cls and image_cls')
  const medium = mediumOf(located)
  checkMediaOptions(medium, options)
  checkEmbeddingOptions(located, options)
  if (task === 'FEATURE_EXTRACTION') return evaluateEmbeddings(located, options, output, signal)
  const labels = hasLabels(task) ? await classNamesOf(located, options.labels) : undefined
  const file = medium
    ? await readMedia(options.data, medium, options, { part: 'evaluation', recorded: located.record?.columns }, output)
    : await readRows(options.data, options)
  const tokenizer = medium === 'image' ? undefined : await openTokenizer(located)
  const prompt = medium === 'speech' ? await speechPrompt(located, options, tokenizer!) : undefined
  const spelled = medium === 'image' ? spelledLabels(file, 'label', labels!) : labels
  const tokens: TokenizedDataset | PreparedExamples<unknown> = medium
    ? await prepareMedia(medium, file, located, options, { labels: spelled, tokenizer, prompt }, output, signal)
    : readTokens(file, labels, located, tokenizer!, options, output)
  const model = await openModel(located, { labels, seed: options.seed }, output)
  const { batchSize, mode, threads, keepPacked, seed } = options
  const trainer = new Trainer<unknown>({
    model,
    tokenizer,
    args: { perDeviceEvalBatchSize: batchSize, mode, threads, keepPacked, seed },
  })
  const metrics = await trainer.evaluate(tokens, { signal })
  refuseNonFinite(metrics)
  if (task === 'SEQ_2_SEQ_LM' && options.generate) {
    const features = tokens.features as (Feature | SpeechFeature)[]
    const decode = (ids: readonly number[]) => tokenizer!.decode(ids, { skipSpecialTokens: true }).trim()
    const expected = features.map(({ labels: target }) => decode(target as number[]))
    const longest = Math.max(...features.map(({ labels: target }) => (target as number[]).length))
    const maxNewTokens =
      options.maxNewTokens ??
      (prompt ? longestText(undefined, located.config) - prompt.tokens.length : Math.max(SHORTEST_LIMIT, 2 * longest))
    const how = { batchSize, mode, threads, keepPacked, maxNewTokens, prompt: prompt?.tokens, decode }
    const texts = await writeTexts(model, features, how, output, signal)
    Object.assign(metrics, textMetrics(texts, expected, prompt !== undefined))
  }
  tell({ task, examples: tokens.features.length, metrics, started }, output)
}

/** What was measured. */
interface Measured {
  task: TrainableTask
  examples: number
  metrics: Readonly<Record<string, number>>
  /** When it began, by the clock of `performance`. */
  started: number
}

function tell({ task, examples, metrics, started }: Measured, output: Output): void {
  output.result(
    {
      command: 'evaluate',
      task: taskOptionOf(task),
      examples,
      metrics,
      seconds: (performance.now() - started) / 1000,
      peak_memory_bytes: peakMemoryBytes(),
    },
    [
      `examples ${formatCount(examples)}`,
      ...Object.entries(metrics).map(([name, value]) => `${name.replace(/^eval_/, '')} ${formatMetric(value)}`),
    ],
  )
}

async function evaluateEmbeddings(
  located: LocatedModel,
  options: EvaluateOptions,
  output: Output,
  signal: AbortSignal | undefined,
): Promise<void> {
  const started = performance.now()
  const file = await readRows(options.data, options)
  const tokenizer = await openTokenizer(located)
  const transformer = await openModel(located, { seed: options.seed }, output)
  const embedding = await openEmbedding(located, transformer, tokenizer, options, output)
  const task = embeddingTask(embedding, file, options, located)
  output.note(`data: ${describeEmbeddings(task)}`)
  const { features } = tokenizeEmbeddings(task, file, options, output)
  const { batchSize, mode, threads, keepPacked, seed } = options
  const trainer = new Trainer({
    model: task.model,
    dataCollator: task.collate,
    computeMetrics: task.metricsOf(features),
    args: { perDeviceEvalBatchSize: batchSize, mode, threads, keepPacked, seed },
  })
  const metrics = await trainer.evaluate(features, { signal })
  refuseNonFinite(metrics)
  tell({ task: located.task, examples: features.length, metrics, started }, output)
}

function readTokens(
  file: DataFile,
  names: readonly string[] | undefined,
  located: LocatedModel,
  tokenizer: Tokenizer,
  options: EvaluateOptions,
  output: Output,
): TokenizedDataset {
  const { task, record, config } = located
  if (!isRowTask(task)) {
    return names
      ? labelledTokens(file, names, located, tokenizer, options, output)
      : textTokens(file, located, tokenizer, options, output)
  }
  const maxLength = longestInput(options.maxLength ?? record?.max_length ?? undefined, tokenizer, config)
  const labels = names && spelledTags(file, chosenColumns(file, options.columns, record?.columns), names)
  const { columns, overlong } = options
  const how = { columns, overlong, maxLength, recorded: record?.columns, labels }
  const tokens = tokenizeRows(task, file, tokenizer, how, output)
  output.note(`data: ${describeRows(tokens, labels)}`)
  return tokens
}

function labelledTokens(
  file: DataFile,
  names: readonly string[],
  { config, record }: LocatedModel,
  tokenizer: Tokenizer,
  options: EvaluateOptions,
  output: Output,
) {
  const columns = classificationColumns(file, options, { recorded: record?.columns })
  const labels = spelledLabels(file, columns.labelColumn, names)
  output.note(`data: ${describeColumns(columnRoles(columns))}; classes ${labels.join(', ')}`)
  const maxLength = longestInput(options.maxLength ?? record?.max_length ?? undefined, tokenizer, config)
  return tokenizeLabelled(file, tokenizer, { ...columns, labels, maxLength, overlong: options.overlong }, output)
}

function textTokens(
  file: DataFile,
  { config, record }: LocatedModel,
  tokenizer: Tokenizer,
  options: EvaluateOptions,
  output: Output,
) {
  const recorded = Object.values(record?.columns ?? {})
  const isSame = recorded.length > 0 && recorded.every(column => file.rows.columns.includes(column))
  const columns = options.columns ?? (isSame && !options.format ? record?.columns : undefined)
  const maxLength = longestInput(options.maxLength ?? record?.max_length ?? undefined, tokenizer, config)
  const how = { columns, format: options.format, maxLength, overlong: options.overlong }
  const tokens = tokenizeText(file, tokenizer, how, output)
  output.note(`data: format ${tokens.format} (${describeColumns(tokens.columns)})`)
  return tokens
}

function refuseNonFinite(metrics: Readonly<Record<string, number>>): void {
  // A perplexity may be infinite where the loss is merely large.
  if (Number.isFinite(metrics.eval_loss)) return
  throw new Error(
    `The loss is ${metrics.eval_loss}: the model's or the adapter's weights hold values that are not finite.`,
  )
}
