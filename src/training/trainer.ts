/** @file `Trainer`: trains, evaluates and predicts with a model on data. */
import {
  type CausalLMOptions,
  type ClassificationOptions,
  Dataset,
  type Feature,
  type QuestionAnsweringOptions,
  type Seq2SeqOptions,
  type TokenClassificationOptions,
  type TokenizedClassification,
  type Tokenizer,
} from '../data/index.ts'
import { varyingParameters } from '../models/function.ts'
import { ParameterVector } from '../nn/index.ts'
import type { Engine } from '../runtime/index.ts'
import { didYouMean } from '../util/nearest.ts'
import { TrainingArguments, type TrainingArgumentsOptions } from './arguments.ts'
import type { TrainerCallback } from './callbacks.ts'
import type { Checkpoint } from './checkpoints.ts'
import { type DataCollator, defaultCollator, type PaddingOptions } from './collate.ts'
import { CheckpointError } from './errors.ts'
import { type ComputeMetrics, Evaluator, type Predictions } from './evaluation.ts'
import { checkFeatures, classNames, type ExampleSource, type Examples, tagNames, toExamples } from './examples.ts'
import { checkMedia, isImage, isSpeech } from './media.ts'
import { factsOf, skipsFirstLabel, TRAINING_TASKS, type TrainableModel, type TrainingTask } from './model.ts'
import type { OutputFolder } from './output-folder.ts'
import { TrainingRun, type TrainResult, withPrefix } from './run.ts'

/** How rows are tokenised, by the task's own options. */
export type TaskTokenization =
  | ClassificationOptions
  | CausalLMOptions
  | Seq2SeqOptions
  | TokenClassificationOptions
  | QuestionAnsweringOptions

/** What a {@link Trainer} is made of. */
export interface TrainerOptions<E = Feature> {
  model: TrainableModel
  args?: TrainingArguments | TrainingArgumentsOptions
  /** Features, what `tokenize…`, `prepareImages` or `prepareSpeech` made, or (with a tokenizer) a data set of rows. */
  trainDataset?: ExampleSource<E>
  evalDataset?: ExampleSource<E>
  /** Tokenises data sets of rows, and tells the padding token. */
  tokenizer?: Tokenizer
  /** How rows are tokenised: columns, `maxLength`, `overlong` and the like. */
  tokenization?: TaskTokenization
  /** What fills up short rows; by default the tokenizer's or the configuration's. */
  padTokenId?: number
  /** Makes batches of examples that are not features. */
  dataCollator?: DataCollator<E>
  /** Decides the metrics, and whether labels are shifted; by default the model's, or what the labels look like. */
  task?: TrainingTask
  callbacks?: readonly TrainerCallback<TrainResult>[]
  /** Further metrics; it makes evaluations fetch all scores. */
  computeMetrics?: ComputeMetrics
  /** Takes what the user should know about rows that were tokenised; by default printed to the error output. */
  onWarning?: (message: string) => void
  /** Writes what belongs beside a saved model (a tokenizer, a record), into `outputDir` and into each checkpoint. */
  saveBeside?: (folder: string) => Promise<void>
  /** What compiles and runs; by default one engine for the whole process. */
  engine?: Engine
}

/** Options of {@link Trainer.train}. */
export interface TrainOptions {
  /** Ends the training between two passes; nothing is saved. */
  signal?: AbortSignal
  /** Pauses it after the step under way: a checkpoint is written, and the result says where (`pausedAt`). */
  pauseSignal?: AbortSignal
  /**
   * Goes on from a checkpoint, bit for bit as if there had been no interruption: from the last one in `outputDir` that is
   * not damaged (true; where there is none the training begins anew, with a warning), or from the one in a folder.
   */
  resumeFromCheckpoint?: boolean | string
}

/** The scores of a data set, with its metrics where it has labels (their names begin with `test_`). */
export interface PredictionOutput extends Predictions {
  metrics: Record<string, number>
}

const OPTIONS = [
  'model',
  'args',
  'trainDataset',
  'evalDataset',
  'tokenizer',
  'tokenization',
  'padTokenId',
  'dataCollator',
  'task',
  'callbacks',
  'computeMetrics',
  'onWarning',
  'saveBeside',
  'engine',
]

/**
 * Trains the parameters of a model that have `requiresGrad`; no other value changes. The steps follow Transformers'
 * Trainer: the learning rate by schedule, gradients averaged over all targets of the accumulated passes and clipped by
 * their global norm, weight decay without biases and norms. The same seed gives the same result, bit for bit.
 *
 * @example
 * const trainer = new Trainer({ model, tokenizer, trainDataset, args: { learningRate: 2e-4, outputDir: 'out' } })
 * const { trainingLoss } = await trainer.train({ signal })
 */
export class Trainer<E = Feature> {
  readonly model: TrainableModel
  readonly args: TrainingArguments
  readonly task: TrainingTask | undefined
  readonly #options: TrainerOptions<E>
  readonly #collate: DataCollator<E>
  readonly #train: Examples<E> | undefined
  readonly #eval: Examples<E> | undefined
  readonly #labels: readonly string[] | undefined
  #training = false

  /** @throws for an unknown option, options that contradict, and data that does not fit the model. */
  constructor(options: TrainerOptions<E>) {
    refuseUnknown('Trainer', options, OPTIONS)
    const { model, args = {} } = options
    this.#options = options
    this.model = model
    this.args = args instanceof TrainingArguments ? args : new TrainingArguments(args)
    this.task = options.task ?? taskOf(model, options.trainDataset ?? options.evalDataset)
    this.#labels = this.#classNames(options.trainDataset)
    this.#collate = options.dataCollator ?? defaultCollator(model, this.#padding())
    this.#train = options.trainDataset && this.#examples(options.trainDataset, 'training data')
    this.#eval = options.evalDataset && this.#examples(options.evalDataset, 'evaluation data')
    if (this.args.evalStrategy !== 'no' && !this.#eval) {
      throw new Error(
        `evalStrategy is '${this.args.evalStrategy}', and there is no evalDataset; give one, or evalStrategy: 'no'.`,
      )
    }
  }

  /**
   * Trains. With `outputDir` it is decided before the first step whether the model may be saved there, and no other
   * training can write there meanwhile.
   *
   * @throws {TrainingInterrupted} when the signal stopped it
   * @throws {NonFiniteError} when the loss or the gradient is not finite
   * @throws {LossSpikeError} at a spike of the loss, with `onSpike: 'stop'`
   * @throws {CheckpointError} when a checkpoint cannot be written, or belongs to another training
   * @throws {OutputFolderInUseError} when another training writes to `outputDir`
   */
  async train(options: TrainOptions = {}): Promise<TrainResult> {
    refuseUnknown('train', options, ['signal', 'pauseSignal', 'resumeFromCheckpoint'])
    if (!this.#train) throw new Error('There is nothing to train on: give the Trainer a trainDataset.')
    if (this.#training)
      throw new Error('This Trainer is training already; wait for it, or make another for another model.')
    this.#training = true
    const { saveStrategy, outputDir } = this.args
    const resumeFrom = options.resumeFromCheckpoint || undefined
    try {
      if (saveStrategy === 'no') {
        if (resumeFrom === undefined) return await this.#run(options, undefined, undefined)
        throw new Error("resumeFromCheckpoint needs an outputDir, and saveStrategy other than 'no'.")
      }
      const output = await this.#claim(outputDir!, { resume: resumeFrom })
      const lock = await output.begin()
      try {
        const resume = resumeFrom === undefined ? undefined : await this.#checkpoint(resumeFrom, output)
        return await this.#run(options, output, resume)
      } finally {
        await lock.release()
      }
    } finally {
      this.#training = false
    }
  }

  async #run(
    { signal, pauseSignal }: TrainOptions,
    output: OutputFolder | undefined,
    resume: Checkpoint | undefined,
  ): Promise<TrainResult> {
    const { model, args, task } = this
    const { saveBeside, callbacks = [], engine, onWarning = console.warn } = this.#options
    const evaluates = args.evalStrategy !== 'no'
    return TrainingRun.run({
      model,
      args,
      task,
      train: this.#train!,
      collate: this.#collate,
      padding: this.#options.dataCollator ? undefined : this.#padding(),
      evaluation: evaluates ? { examples: this.#eval!, evaluator: vector => this.#evaluator(vector) } : undefined,
      output,
      saveModel: async folder => {
        await saveBeside?.(folder)
        await model.savePretrained(folder)
      },
      resume,
      callbacks,
      engine,
      signal,
      pauseSignal,
      onWarning,
    })
  }

  /** The checkpoint to go on from; undefined where there is none yet. */
  async #checkpoint(from: true | string, output: OutputFolder): Promise<Checkpoint | undefined> {
    const { onWarning = console.warn } = this.#options
    if (from === true) {
      const found = await output.checkpoints.newest(onWarning)
      if (!found) onWarning(`There is no checkpoint in ${output.path} to resume from: the training starts anew.`)
      return found
    }
    const { Checkpoint } = await import('./checkpoints.ts')
    return Checkpoint.open(from).catch(cause => {
      throw new CheckpointError(`Cannot resume from the checkpoint ${from}: ${cause.message}.`, { cause })
    })
  }

  /**
   * The metrics of a data set, each with the prefix `eval_`: the loss; accuracy, F1 and Matthews' correlation of
   * classifiers; the accuracy of tokens and the F1 of entities; exact matches and F1 of answers; the perplexity of
   * language models; and those of `computeMetrics`.
   *
   * @param source by default the Trainer's `evalDataset`
   */
  async evaluate(source?: ExampleSource<E>, options: { signal?: AbortSignal } = {}): Promise<Record<string, number>> {
    const examples = source ? this.#examples(source, 'evaluation data') : this.#eval
    if (!examples)
      throw new Error('There is nothing to evaluate: give evaluate a data set, or the Trainer an evalDataset.')
    await using evaluator = await this.#freshEvaluator()
    return withPrefix('eval_', (await evaluator.run(examples, options)).metrics)
  }

  /**
   * The scores of each example of a data set, in its order; labels may be missing. All scores are in memory at once:
   * for a language model that is its vocabulary for every token.
   */
  async predict(source: ExampleSource<E>, options: { signal?: AbortSignal } = {}): Promise<PredictionOutput> {
    const examples = this.#examples(source, 'data')
    await using evaluator = await this.#freshEvaluator()
    const { metrics, ...predictions } = await evaluator.run(examples, { ...options, logits: true })
    return { ...predictions, metrics: withPrefix('test_', metrics) }
  }

  /** Saves the model or its adapter to a folder (by default `outputDir`), whole or not at all. */
  async saveModel(folder = this.args.outputDir): Promise<void> {
    if (folder === undefined)
      throw new Error('Where to save is not known: give saveModel a folder, or the arguments an outputDir.')
    const output = await this.#claim(folder)
    await output.write(async path => {
      await this.#options.saveBeside?.(path)
      await this.model.savePretrained(path)
    })
  }

  async #claim(folder: string, { resume }: { resume?: true | string } = {}): Promise<OutputFolder> {
    // Loaded here and not above, so that a browser can train models without Node's modules.
    const { OutputFolder } = await import('./output-folder.ts')
    return OutputFolder.claim(folder, { overwrite: this.args.overwriteOutputDir, model: this.model, resume })
  }

  async #freshEvaluator(): Promise<Evaluator<E>> {
    this.model.initialize(this.args.seed)
    return this.#evaluator(await ParameterVector.load(varyingParameters(this.model)))
  }

  #evaluator(vector: ParameterVector): Evaluator<E> {
    const { model, task, args } = this
    const { computeMetrics, engine } = this.#options
    const { mode, threads, keepPacked, perDeviceEvalBatchSize: batchSize } = args
    return new Evaluator({
      model,
      vector,
      task,
      computeMetrics,
      engine,
      mode,
      threads,
      keepPacked,
      batchSize,
      collate: this.#collate,
    })
  }

  #padding(): PaddingOptions {
    const { tokenizer, padTokenId } = this.#options
    const own = factsOf(this.model).pad_token_id ?? undefined
    // Classifiers on decoders find the last token by the configuration's padding token.
    const preferred = this.task === 'SEQ_CLS' ? (own ?? tokenizer?.padTokenId) : (tokenizer?.padTokenId ?? own)
    const { padToMultipleOf } = this.args
    return { padTokenId: padTokenId ?? preferred, padToMultipleOf, task: this.task }
  }

  #examples(source: ExampleSource<E>, name: string): Examples<E> {
    const { tokenizer, tokenization = {}, dataCollator, onWarning = console.warn } = this.#options
    const facts = factsOf(this.model)
    const how = { tokenizer, task: this.task, facts, options: tokenization, labels: this.#labels, onWarning }
    const examples = toExamples(source, name, how)
    const [first] = examples.items
    if (!dataCollator && (isImage(first) || isSpeech(first))) checkMedia(examples, this.model, facts)
    else if (!dataCollator) {
      const { padToMultipleOf } = this.args
      checkFeatures(examples as Examples<unknown> as Examples<Feature>, facts, {
        padToMultipleOf,
        task: this.task,
        skipsFirst: skipsFirstLabel(this.model, this.task),
      })
    }
    return examples
  }

  #classNames(source: ExampleSource<E> | undefined): readonly string[] | undefined {
    if ((this.task !== 'SEQ_CLS' && this.task !== 'TOKEN_CLS') || source === undefined) return undefined
    if (!(source instanceof Dataset)) return (source as Partial<TokenizedClassification>).labels
    if (this.task === 'TOKEN_CLS') return tagNames(source, factsOf(this.model), this.#options.tokenization ?? {}, true)
    return classNames(source, factsOf(this.model), this.#options.tokenization ?? {}, true)
  }
}

function refuseUnknown(what: string, options: object, known: readonly string[]): void {
  for (const name of Object.keys(options)) {
    if (known.includes(name)) continue
    throw new Error(`${what} has no option "${name}"; it has ${known.join(', ')}.${didYouMean(name, known)}`)
  }
}

function taskOf(model: TrainableModel, source: ExampleSource<unknown> | undefined): TrainingTask | undefined {
  const known = TRAINING_TASKS.find(task => task === model.task)
  if (known) return known
  if (source === undefined || source instanceof Dataset) return undefined
  const [first] = Array.isArray(source) ? source : (source as { features: Feature[] }).features
  const labels = (first as Feature | undefined)?.labels
  return Array.isArray(labels) ? 'CAUSAL_LM' : typeof labels === 'number' ? 'SEQ_CLS' : undefined
}
