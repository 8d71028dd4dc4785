/** @file `peft train`. */
import type { Tokenizer } from '../../data/index.ts'
import type { EmbeddingExample } from '../../embeddings/index.ts'
import type { PreTrainedModel } from '../../models/index.ts'
import { formatTrainableParameters } from '../../peft/index.ts'
import type { QuantizedProducts } from '../../runtime/index.ts'
import {
  type CacheActivations,
  type DataCollator,
  type IntervalStrategy,
  type NonFinitePolicy,
  type SchedulerType,
  type SpikePolicy,
  Trainer,
  type TrainerOptions,
  TrainingArguments,
  type TrainingArgumentsOptions,
  TrainingInterrupted,
  type TrainResult,
} from '../../training/index.ts'
import { OutputFolder } from '../../training/output-folder.ts'
import {
  checkEmbeddingOptions,
  type EmbeddingOptions,
  embeddingData,
  embeddingTask,
  openEmbedding,
} from '../embedding.ts'
import { inFlags, RunFileError, UsageError } from '../exit.ts'
import { formatBytes, formatCount, formatMetric, formatMetrics, formatSeconds, shellQuote } from '../format.ts'
import { checkMediaOptions, evaluationPart, mediumOf } from '../media.ts'
import { peakMemoryBytes } from '../memory.ts'
import { type LocatedModel, locateModel, type ModelOptions, openBaseModel, openTokenizer } from '../model.ts'
import { checkMonitoring, type Monitoring, type MonitoringOptions, monitor } from '../monitoring.ts'
import type { Output } from '../output.ts'
import type { RunKey } from '../run-file/keys.ts'
import { writeResolvedRun } from '../run-file/saved.ts'
import { saveBeside, weightBytes } from '../saving.ts'
import { taskOptionOf, useCommand } from '../task.ts'
import {
  type DataFiles,
  labelsOf,
  prepareFiles,
  readFiles,
  type TrainingData,
  type TrainingDataOptions,
} from '../training-data.ts'
import { trainingOptionsOf } from '../training-options.ts'
import { showTraining } from '../training-progress.ts'
import { checkMethod, countParameters, defaultLearningRate, type TunedModel, tune } from '../tuning.ts'

/** The options of `peft train`. */
export interface TrainOptions extends ModelOptions, TrainingDataOptions, MonitoringOptions, EmbeddingOptions {
  method: string
  set: string[]
  output: string
  overwrite: boolean
  ignoreMismatchedSizes: boolean
  epochs: number
  maxSteps?: number
  batchSize: number
  evalBatchSize?: number
  gradientAccumulation: number
  learningRate?: number
  scheduler: SchedulerType
  warmupRatio: number
  weightDecay: number
  maxGradNorm: number
  optimizer: 'adamw' | 'sgd'
  momentum: number
  mode: 'fast' | 'small'
  gradientCheckpointing: boolean
  threads?: number
  keepPacked: boolean
  quantizedProducts: QuantizedProducts
  loggingSteps?: number
  evalStrategy?: IntervalStrategy
  evalSteps?: number
  loadBest: boolean
  metric: string
  groupByLength: boolean
  packing: boolean
  cacheActivations: CacheActivations
  saveStrategy: 'steps' | 'epoch' | 'end'
  saveSteps?: number
  saveTotalLimit?: number
  resume: boolean
  earlyStoppingPatience?: number
  earlyStoppingThreshold?: number
  onNonFinite: NonFinitePolicy
  onSpike: SpikePolicy
  spikeFactor?: number
  maxBadSteps: number
}

/** Checkpoints that are kept where nothing else is said. */
const KEPT_CHECKPOINTS = 2

/**
 * Trains a model or an adapter, and writes it to `--output`.
 *
 * @param keys those of run files, in which the resolved training is written beside what was trained
 */
export async function train(
  given: TrainOptions,
  output: Output,
  signal: AbortSignal | undefined,
  keys: readonly RunKey[],
): Promise<void> {
  const started = performance.now()
  const options = { ...given, evalData: await evaluationPart(given) }
  checkOptions(options)
  const located = await locateModel(options, output)
  const medium = mediumOf(located)
  checkMediaOptions(medium, options)
  checkEmbeddingOptions(located, options)
  const files = await readFiles(options, located, output)
  const labels = labelsOf(options, located, files.train)
  const base = await openBaseModel(located, { ...options, labels }, output)
  announce(base, options, output)
  const model = tune(base, options.method, options.set, options.seed)
  const { overwrite, resume } = options
  const folder = await OutputFolder.claim(options.output, { overwrite, model, resume: resume || undefined })
  const tokenizer = medium === 'image' ? undefined : await openTokenizer(located)
  const embedding = await embeddingOf(located, model, tokenizer, files, options, output)
  const data: TrainingData = embedding
    ? embeddingData(embedding.task, embedding.model, files, options, output)
    : await prepareFiles({ options, located, files, labels, tokenizer, signal }, output)
  const { trainable, all } = countParameters(model, embedding?.model.moduleParameters())
  const line = formatTrainableParameters({ trainable, all })
  output.event('parameters', { trainable_parameters: trainable, all_parameters: all }, line)

  const args = trainingArguments(options, data)
  signal?.throwIfAborted()
  const record = {
    task: located.task,
    base_model: located.name,
    method: options.method,
    ...data.record,
  }
  const settingsFrom = model === base ? located.folder : undefined
  const beside = (to: string) => saveBeside(to, { tokenizer, record, settingsFrom })
  const { evaluation } = data
  const { task, method } = options
  const details = { model: located.name, method, task: task ?? taskOptionOf(located.task), data: options.data }
  const monitored = { folder: folder.path, model, tokenizer, evaluation, details, signal }
  const monitoring = await monitor(options, monitored, output)
  const trained: TrainedParts = {
    ...{ model: embedding?.task.model ?? model, tokenizer, args },
    ...(embedding && {
      dataCollator: embedding.task.collate as DataCollator<unknown>,
      computeMetrics: evaluation && embedding.task.metricsOf(evaluation.features as EmbeddingExample[]),
    }),
  }
  const result = await runTraining(trained, data, output, {
    signal,
    resume,
    saveBeside: beside,
    callbacks: monitoring.callbacks,
  }).finally(monitoring.close)
  const metrics = await finalMetrics(result, trained, data, signal)
  const sameColumns = !medium && given.evalData === undefined
  await writeResolvedRun(folder.path, { options: given, args, keys, record, sameColumns })

  const seconds = (performance.now() - started) / 1000
  const next = nextCommands(options, located, model !== base)
  const bytes = await weightBytes(folder.path)
  const { bold, green, dim } = output.style
  // Images have no tokens.
  const speed = result.tokensPerSecond ? `, ${formatCount(result.tokensPerSecond)} tokens/s` : ''
  output.result(
    {
      command: 'train',
      output: options.output,
      task: taskOptionOf(located.task),
      method: options.method,
      steps: result.globalStep,
      training_loss: result.trainingLoss,
      ...(result.badSteps > 0 && { bad_steps: result.badSteps }),
      metrics,
      ...(result.bestStep !== undefined && options.loadBest && { best_step: result.bestStep }),
      trainable_parameters: trainable,
      all_parameters: all,
      initialized_parameters: base.missingParameters,
      ...(labels && { labels }),
      seconds,
      seconds_per_step: result.secondsPerStep,
      tokens_per_second: result.tokensPerSecond,
      peak_memory_bytes: peakMemoryBytes(),
      weight_bytes: bytes,
      next,
    },
    [
      `${green('trained')} ${result.globalStep} steps in ${formatSeconds(seconds)} ` +
        dim(`(${result.secondsPerStep.toFixed(3)} s a step${speed})`),
      `training loss ${formatMetric(result.trainingLoss)}`,
      ...(result.badSteps > 0 ? [`bad steps   ${result.badSteps}, skipped or backed off from`] : []),
      ...(Object.keys(metrics).length ? [`evaluation  ${bold(formatMetrics(metrics))}`] : []),
      `peak memory ${formatBytes(peakMemoryBytes())}`,
      `${model === base ? 'model' : 'adapter'} ${bold(options.output)} (${formatBytes(bytes)})`,
      '',
      'next:',
      ...next.map(command => `  ${command}`),
    ],
  )
}

function checkOptions(options: TrainOptions): void {
  const { evalData, evalSplit, evalStrategy, evalSteps, loadBest, method, set, optimizer, momentum } = options
  if (evalData !== undefined && evalSplit !== undefined) {
    throw new UsageError('--eval-data and --eval-split were both given; give one')
  }
  const evaluates = evalData !== undefined || evalSplit !== undefined
  if (!evaluates && (loadBest || evalSteps !== undefined || (evalStrategy && evalStrategy !== 'no'))) {
    throw new UsageError('--load-best, --eval-steps and --eval-strategy need --eval-data or --eval-split')
  }
  if (evalStrategy === 'no' && (loadBest || evalSteps !== undefined)) {
    throw new UsageError('--eval-strategy no contradicts --load-best and --eval-steps')
  }
  checkReliability(options, evaluates && evalStrategy !== 'no')
  checkMonitoring(options, evaluates && evalStrategy !== 'no')
  if (evalStrategy === 'epoch' && evalSteps !== undefined) {
    throw new UsageError('--eval-steps belongs to --eval-strategy steps')
  }
  if (options.adapter !== undefined) throw new UsageError('peft train makes a new adapter; --adapter is not taken')
  if (momentum > 0 && optimizer !== 'sgd') throw new UsageError('--momentum belongs to --optimizer sgd')
  if (options.scheduler === 'constant' && options.warmupRatio > 0) {
    throw new UsageError('--scheduler constant has no warm-up; take constant_with_warmup')
  }
  checkMethod(method, set)
  checkedArguments(options, evaluates)
}

/** Options on checkpoints, stopping early and bad steps that contradict each other. */
function checkReliability(options: TrainOptions, evaluates: boolean): void {
  const { saveStrategy, saveSteps, saveTotalLimit, earlyStoppingPatience: patience, onSpike, spikeFactor } = options
  if (saveSteps !== undefined && saveStrategy !== 'steps') {
    throw new UsageError('--save-steps belongs to --save-strategy steps')
  }
  if (saveTotalLimit !== undefined && saveStrategy === 'end') {
    throw new UsageError('--save-total-limit counts checkpoints, and --save-strategy end writes none')
  }
  if (patience !== undefined && !evaluates) {
    throw new UsageError('--early-stopping-patience needs evaluations: give --eval-data or --eval-split')
  }
  if ((options.earlyStoppingThreshold ?? 0) > 0 && patience === undefined) {
    throw new UsageError('--early-stopping-threshold belongs to --early-stopping-patience')
  }
  if (spikeFactor !== undefined && onSpike === 'ignore') {
    throw new UsageError('--spike-factor says what a spike is; give --on-spike skip, backoff or stop too')
  }
}

/** Says what starts from random values: it is trained and saved, whatever the method. */
function announce({ missingParameters }: PreTrainedModel, { model, seed }: TrainOptions, output: Output): void {
  if (missingParameters.length === 0) return
  output.event(
    'initialized',
    { parameters: missingParameters, seed },
    `new parameters, drawn from seed ${seed} since ${model} lacks them: ${missingParameters.join(', ')}`,
  )
}

function trainingArguments(options: TrainOptions, { train, evaluation }: TrainingData): TrainingArguments {
  const { batchSize, gradientAccumulation, epochs, maxSteps, evalSteps, saveStrategy } = options
  const stepsPerEpoch = Math.ceil(Math.ceil(train.features.length / batchSize) / gradientAccumulation)
  const steps = maxSteps ?? Math.ceil(epochs * stepsPerEpoch)
  return checkedArguments(options, evaluation !== undefined, {
    evalSteps,
    loggingSteps: options.loggingSteps ?? Math.min(50, Math.max(1, Math.round(steps / 20))),
    saveTotalLimit: saveStrategy === 'end' ? undefined : (options.saveTotalLimit ?? KEPT_CHECKPOINTS),
  })
}

/** The training arguments that the options ask for, with `more` that the data decides. */
function checkedArguments(
  options: TrainOptions,
  evaluates: boolean,
  more: TrainingArgumentsOptions = {},
): TrainingArguments {
  const { evalSteps } = options
  try {
    return new TrainingArguments({
      ...(trainingOptionsOf(options) as TrainingArgumentsOptions),
      learningRate: options.learningRate ?? defaultLearningRate(options.method),
      perDeviceEvalBatchSize: options.evalBatchSize ?? options.batchSize,
      evalStrategy: evaluates ? (options.evalStrategy ?? (evalSteps === undefined ? 'epoch' : 'steps')) : 'no',
      ...more,
    })
  } catch (cause) {
    throw new RunFileError((cause as Error).message.replace(/^TrainingArguments: /, 'training: '), { cause })
  }
}

/** The embedding that is trained around the model, and how; undefined for other tasks. */
async function embeddingOf(
  located: LocatedModel,
  transformer: TunedModel,
  tokenizer: Tokenizer | undefined,
  { train }: DataFiles,
  options: TrainOptions,
  output: Output,
) {
  if (located.task !== 'FEATURE_EXTRACTION') return undefined
  const model = await openEmbedding(located, transformer, tokenizer!, options, output)
  return { model, task: embeddingTask(model, train, options) }
}

/** What is trained and measured. */
type TrainedParts = Pick<
  TrainerOptions<unknown>,
  'model' | 'tokenizer' | 'args' | 'dataCollator' | 'computeMetrics'
> & { args: TrainingArguments }

/** What a training is run with, beside its data and arguments. */
interface RunSettings {
  /** Pauses it. */
  signal: AbortSignal | undefined
  resume: boolean
  /** Writes what goes with a model or an adapter. */
  saveBeside(folder: string): Promise<void>
  /** What records and shows it. */
  callbacks: Monitoring['callbacks']
}

async function runTraining(
  trained: TrainedParts,
  data: TrainingData,
  output: Output,
  { signal, resume, saveBeside, callbacks }: RunSettings,
): Promise<TrainResult> {
  const { callback, stop } = showTraining(output)
  const { args } = trained
  const trainer = new Trainer<unknown>({
    ...trained,
    trainDataset: data.train,
    evalDataset: data.evaluation,
    callbacks: [callback, ...callbacks],
    saveBeside,
    onWarning: message => output.warn(inFlags(message)),
  })
  output.note(
    `learning rate ${args.learningRate}, ${args.lrSchedulerType} schedule, ${args.optim}, batches of ` +
      `${args.perDeviceTrainBatchSize}${args.gradientAccumulationSteps > 1 ? ` x ${args.gradientAccumulationSteps}` : ''}`,
  )
  try {
    const result = await trainer.train({ pauseSignal: signal, resumeFromCheckpoint: resume })
    if (result.pausedAt === undefined) return result
    throw new Error(
      `Training was paused after step ${result.globalStep}. ${result.pausedAt} holds what it needs to go on: run the same ` +
        'command with --resume.',
      { cause: signal?.reason },
    )
  } catch (error) {
    if (!(error instanceof TrainingInterrupted)) throw error
    throw new Error(`Training was stopped before its first step. No model was saved to ${args.outputDir}.`, {
      cause: error,
    })
  } finally {
    stop()
  }
}

/** The metrics of the last (or best) evaluation; where `--eval-strategy no` put it off, it is made now. */
async function finalMetrics(
  { metrics }: TrainResult,
  trained: TrainedParts,
  { evaluation }: TrainingData,
  signal: AbortSignal | undefined,
): Promise<Record<string, number>> {
  if (!evaluation || Object.keys(metrics).length > 0) return metrics
  return new Trainer<unknown>({ ...trained, evalDataset: evaluation }).evaluate(undefined, { signal })
}

function nextCommands(options: TrainOptions, located: LocatedModel, isAdapter: boolean): string[] {
  const { name, task } = located
  const model = isAdapter
    ? `--model ${shellQuote(name)} --adapter ${shellQuote(options.output)}`
    : `--model ${shellQuote(options.output)}`
  const data = shellQuote(options.evalData ?? options.data)
  return [
    `peft evaluate ${model} --data ${data}`,
    useCommand(task, model, mediumOf(located)),
    ...(isAdapter ? [`peft merge ${model} --output ${shellQuote(`${options.output}-merged`)}`] : []),
  ]
}
