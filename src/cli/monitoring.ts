/** @file What records and shows a training: metrics.jsonl, TensorBoard's events, samples, the live page. */
import type { TokenizedDataset, Tokenizer } from '../data/index.ts'
import { metricsFile, type Samples, tensorBoard, trainingPage, trainingSamples } from '../monitoring/index.ts'
import type { TrainerCallback, TrainResult } from '../training/index.ts'
import { UsageError } from './exit.ts'
import type { Output } from './output.ts'
import type { TrainingData } from './training-data.ts'
import type { TunedModel } from './tuning.ts'

/** The options that say how a training is seen. */
export interface MonitoringOptions {
  metrics: boolean
  tensorboard: boolean
  ui: boolean
  uiPort?: number
  /** Examples of the evaluation data to which the model's answers are kept. */
  samples?: number
}

/** A training to be seen. */
export interface MonitoredTraining {
  folder: string
  model: TunedModel
  tokenizer: Tokenizer | undefined
  evaluation: TrainingData['evaluation']
  /** What the record says beside the training arguments. */
  details: Readonly<Record<string, unknown>>
  /** Pauses the training. */
  signal: AbortSignal | undefined
}

/** The callbacks of a training, and what ends the page however the training ends. */
export interface Monitoring {
  callbacks: TrainerCallback<TrainResult>[]
  close(): Promise<void>
}

/** Tasks whose examples are texts. */
const TEXT_TASKS = ['CAUSAL_LM', 'SEQ_2_SEQ_LM', 'SEQ_CLS', 'TOKEN_CLS', 'QUESTION_ANS']

/** Refuses options that contradict each other. */
export function checkMonitoring({ metrics, ui, uiPort, samples }: MonitoringOptions, evaluates: boolean): void {
  if (ui && !metrics) throw new UsageError('--ui shows what --no-metrics does not record; give one of the two')
  if (uiPort !== undefined && !ui) throw new UsageError('--ui-port belongs to --ui')
  if (samples !== undefined && samples > 0 && !evaluates) {
    throw new UsageError('--samples are made at evaluations: give --eval-data or --eval-split')
  }
}

/** Starts what the options ask for; the page's address is told on `output`. */
export async function monitor(
  options: MonitoringOptions,
  training: MonitoredTraining,
  output: Output,
): Promise<Monitoring> {
  const { folder, details, signal } = training
  const onWarning = (message: string) => output.warn(message)
  const record = { details, samples: samplesOf(options, training, output), onWarning }
  const callbacks = [
    ...(options.metrics ? [metricsFile(folder, record)] : []),
    ...(options.tensorboard ? [tensorBoard(folder, record)] : []),
  ]
  if (!options.ui) return { callbacks, close: async () => {} }
  const page = await trainingPage(folder, { port: options.uiPort, signal })
  output.event('ui', { url: page.url }, `live page: ${output.noteStyle.bold(page.url)}`)
  return { callbacks: [...callbacks, page.callback], close: page.close }
}

/** Texts are generated where somebody looks, or asks for them; predictions come with the evaluation. */
function samplesOf(
  { ui, samples: count }: MonitoringOptions,
  { model, tokenizer, evaluation }: MonitoredTraining,
  output: Output,
): Samples | undefined {
  const isText = TEXT_TASKS.includes(model.task) && evaluation !== undefined && 'tooLong' in evaluation
  if (!isText || !tokenizer || count === 0) return undefined
  const generates = model.task === 'CAUSAL_LM' || model.task === 'SEQ_2_SEQ_LM'
  if (generates && count === undefined && !ui) return undefined
  const data = evaluation as TokenizedDataset
  return trainingSamples({ model, tokenizer, data, count, onWarning: message => output.warn(message) })
}
