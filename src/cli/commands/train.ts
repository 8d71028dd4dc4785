/** @file `peft train`. */
import type { Tokenizer } from '../../data/index.ts'
import type { PreTrainedModel } from '../../models/index.ts'
import {
  type IntervalStrategy,
  type SchedulerType,
  Trainer,
  TrainingArguments,
  TrainingInterrupted,
  type TrainResult,
} from '../../training/index.ts'
import { OutputFolder } from '../../training/output-folder.ts'
import { UsageError } from '../exit.ts'
import { formatBytes, formatCount, formatMetric, formatMetrics, formatSeconds, shellQuote } from '../format.ts'
import { peakMemoryBytes } from '../memory.ts'
import { type LocatedModel, locateModel, type ModelOptions, openBaseModel, openTokenizer } from '../model.ts'
import type { Output } from '../output.ts'
import { saveAll, weightBytes } from '../saving.ts'
import { taskOptionOf, useCommand } from '../task.ts'
import { labelsOf, readFiles, type TrainingData, type TrainingDataOptions, tokenizeFiles } from '../training-data.ts'
import { showTraining } from '../training-progress.ts'
import { checkMethod, countParameters, defaultLearningRate, type TunedModel, trainableLine, tune } from '../tuning.ts'

/** The options of `peft train`. */
export interface TrainOptions extends ModelOptions, TrainingDataOptions {
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
  threads?: number
  loggingSteps?: number
  evalStrategy?: IntervalStrategy
  evalSteps?: number
  loadBest: boolean
  metric: string
  groupByLength: boolean
}

/** Trains a model or an adapter, and writes it to `--output`. */
export async function train(options: TrainOptions, output: Output, signal?: AbortSignal): Promise<void> {
  const started = performance.now()
  checkOptions(options)
  const located = await locateModel(options, output)
  const files = await readFiles(options, located)
  const labels = labelsOf(options, located, files.train)
  const base = await openBaseModel(located, { ...options, labels }, output)
  announce(base, options, output)
  const model = tune(base, options.method, options.set, options.seed)
  const folder = await OutputFolder.claim(options.output, { overwrite: options.overwrite, model })
  const tokenizer = await openTokenizer(located)
  const data = tokenizeFiles(options, located, files, labels, tokenizer, output)
  const line = trainableLine(model)
  const { trainable, all } = countParameters(model)
  output.event('parameters', { trainable_parameters: trainable, all_parameters: all }, line)

  const args = trainingArguments(options, data)
  signal?.throwIfAborted()
  const result = await runTraining(model, tokenizer, data, args, output, signal, options.output)
  const metrics = await finalMetrics(result, model, tokenizer, data, args, signal)
  signal?.throwIfAborted()
  refuseNonFinite(model, options.output)
  const record = {
    task: located.task,
    base_model: located.name,
    method: options.method,
    ...data.record,
  }
  const settingsFrom = model === base ? located.folder : undefined
  await saveAll(folder, { model, tokenizer, record, settingsFrom })

  const seconds = (performance.now() - started) / 1000
  const next = nextCommands(options, located, model !== base)
  const bytes = await weightBytes(folder.path)
  const { bold, green, dim } = output.style
  output.result(
    {
      command: 'train',
      output: options.output,
      task: taskOptionOf(located.task),
      method: options.method,
      steps: result.globalStep,
      training_loss: result.trainingLoss,
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
        dim(`(${result.secondsPerStep.toFixed(3)} s a step, ${formatCount(result.tokensPerSecond)} tokens/s)`),
      `training loss ${formatMetric(result.trainingLoss)}`,
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
  if (evalStrategy === 'epoch' && evalSteps !== undefined) {
    throw new UsageError('--eval-steps belongs to --eval-strategy steps')
  }
  if (options.adapter !== undefined) throw new UsageError('peft train makes a new adapter; --adapter is not taken')
  if (momentum > 0 && optimizer !== 'sgd') throw new UsageError('--momentum belongs to --optimizer sgd')
  if (options.scheduler === 'constant' && options.warmupRatio > 0) {
    throw new UsageError('--scheduler constant has no warm-up; take constant_with_warmup')
  }
  checkMethod(method, set)
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
  const { batchSize, gradientAccumulation, epochs, maxSteps, evalSteps } = options
  const stepsPerEpoch = Math.ceil(Math.ceil(train.features.length / batchSize) / gradientAccumulation)
  const steps = maxSteps ?? Math.ceil(epochs * stepsPerEpoch)
  const evalStrategy = evaluation ? (options.evalStrategy ?? (evalSteps === undefined ? 'epoch' : 'steps')) : 'no'
  return new TrainingArguments({
    learningRate: options.learningRate ?? defaultLearningRate(options.method),
    numTrainEpochs: epochs,
    maxSteps,
    perDeviceTrainBatchSize: batchSize,
    perDeviceEvalBatchSize: options.evalBatchSize ?? batchSize,
    gradientAccumulationSteps: gradientAccumulation,
    weightDecay: options.weightDecay,
    maxGradNorm: options.maxGradNorm,
    lrSchedulerType: options.scheduler,
    warmupRatio: options.warmupRatio,
    optim: options.optimizer,
    momentum: options.momentum,
    loggingSteps: options.loggingSteps ?? Math.min(50, Math.max(1, Math.round(steps / 20))),
    evalStrategy,
    evalSteps,
    loadBestModelAtEnd: options.loadBest,
    metricForBestModel: options.metric,
    seed: options.seed,
    groupByLength: options.groupByLength,
    mode: options.mode,
    threads: options.threads,
  })
}

async function runTraining(
  model: TunedModel,
  tokenizer: Tokenizer,
  data: TrainingData,
  args: TrainingArguments,
  output: Output,
  signal: AbortSignal | undefined,
  folder: string,
): Promise<TrainResult> {
  const { callback, stop } = showTraining(output)
  const trainer = new Trainer({
    model,
    args,
    tokenizer,
    trainDataset: data.train,
    evalDataset: data.evaluation,
    callbacks: [callback],
  })
  output.note(
    `learning rate ${args.learningRate}, ${args.lrSchedulerType} schedule, ${args.optim}, batches of ` +
      `${args.perDeviceTrainBatchSize}${args.gradientAccumulationSteps > 1 ? ` x ${args.gradientAccumulationSteps}` : ''}`,
  )
  try {
    return await trainer.train({ signal })
  } catch (error) {
    if (!(error instanceof TrainingInterrupted)) throw error
    const { step, maxSteps } = error.state
    throw new Error(
      `Training was stopped after step ${step} of ${maxSteps}. Nothing was saved: ${folder} is as it was before.`,
      { cause: error },
    )
  } finally {
    stop()
  }
}

/** The metrics of the last (or best) evaluation; where `--eval-strategy no` put it off, it is made now. */
async function finalMetrics(
  { metrics }: TrainResult,
  model: TunedModel,
  tokenizer: Tokenizer,
  { evaluation }: TrainingData,
  args: TrainingArguments,
  signal: AbortSignal | undefined,
): Promise<Record<string, number>> {
  if (!evaluation || Object.keys(metrics).length > 0) return metrics
  return new Trainer({ model, args, tokenizer, evalDataset: evaluation }).evaluate(undefined, { signal })
}

/** The last step can make values that no later loss has shown. */
function refuseNonFinite(model: TunedModel, folder: string): void {
  for (const [name, parameter] of model.namedParameters()) {
    if (!parameter.requiresGrad || !parameter.isLoaded || parameter.data.every(Number.isFinite)) continue
    throw new Error(
      `The last step put a value that is not finite into "${name}". Nothing was saved: ${folder} is as it was before. ` +
        'Take a lower --learning-rate or a --warmup-ratio.',
    )
  }
}

function nextCommands(options: TrainOptions, { name, task }: LocatedModel, isAdapter: boolean): string[] {
  const model = isAdapter
    ? `--model ${shellQuote(name)} --adapter ${shellQuote(options.output)}`
    : `--model ${shellQuote(options.output)}`
  const data = shellQuote(options.evalData ?? options.data)
  return [
    `peft evaluate ${model} --data ${data}`,
    useCommand(task, model),
    ...(isAdapter ? [`peft merge ${model} --output ${shellQuote(`${options.output}-merged`)}`] : []),
  ]
}
