/** @file `peft evaluate`. */
import type { TokenizedDataset, Tokenizer } from '../../data/index.ts'
import { Trainer } from '../../training/index.ts'
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
import { UsageError } from '../exit.ts'
import { formatCount, formatMetric } from '../format.ts'
import { peakMemoryBytes } from '../memory.ts'
import { classNamesOf, type LocatedModel, locateModel, type ModelOptions, openModel, openTokenizer } from '../model.ts'
import type { Output } from '../output.ts'
import { hasLabels, taskOptionOf } from '../task.ts'
import { chosenColumns, describeRows, isRowTask, spelledTags, tokenizeRows } from '../task-data.ts'

/** Options of commands that run a model over data. */
export interface RunModelOptions extends ModelOptions, DataOptions {
  labels?: string[]
  batchSize: number
  seed: number
  mode: 'fast' | 'small'
  threads?: number
}

/** The options of `peft evaluate`. */
export interface EvaluateOptions extends RunModelOptions {
  data: string
}

/** Prints the metrics of a model on a data file. */
export async function evaluate(options: EvaluateOptions, output: Output, signal?: AbortSignal): Promise<void> {
  const started = performance.now()
  const located = await locateModel(options, output)
  const { task } = located
  if (!hasLabels(task) && options.labels) throw new UsageError('--labels belongs to --task seq_cls and token_cls')
  const labels = hasLabels(task) ? await classNamesOf(located, options.labels) : undefined
  const file = await readRows(options.data, options)
  const tokenizer = await openTokenizer(located)
  const tokens = readTokens(file, labels, located, tokenizer, options, output)
  const model = await openModel(located, { labels, seed: options.seed }, output)
  const { batchSize, mode, threads, seed } = options
  const trainer = new Trainer({ model, tokenizer, args: { perDeviceEvalBatchSize: batchSize, mode, threads, seed } })
  const metrics = await trainer.evaluate(tokens, { signal })
  refuseNonFinite(metrics)
  const seconds = (performance.now() - started) / 1000
  output.result(
    {
      command: 'evaluate',
      task: taskOptionOf(task),
      examples: tokens.features.length,
      metrics,
      seconds,
      peak_memory_bytes: peakMemoryBytes(),
    },
    [
      `examples ${formatCount(tokens.features.length)}`,
      ...Object.entries(metrics).map(([name, value]) => `${name.replace(/^eval_/, '')} ${formatMetric(value)}`),
    ],
  )
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
