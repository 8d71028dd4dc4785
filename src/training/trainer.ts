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
import { type DataCollator, paddingCollator } from './collate.ts'
import { type ComputeMetrics, Evaluator, type Predictions } from './evaluation.ts'
import { checkFeatures, classNames, type ExampleSource, type Examples, tagNames, toExamples } from './examples.ts'
import { factsOf, skipsFirstLabel, TRAINING_TASKS, type TrainableModel, type TrainingTask } from './model.ts'
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
  /** Features, a tokenised data set, or (with a tokenizer) a data set of rows. */
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
  /** What compiles and runs; by default one engine for the whole process. */
  engine?: Engine
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
    this.#collate = options.dataCollator ?? this.#padding()
    this.#train = options.trainDataset && this.#examples(options.trainDataset, 'training data')
    this.#eval = options.evalDataset && this.#examples(options.evalDataset, 'evaluation data')
    if (this.args.evalStrategy !== 'no' && !this.#eval) {
      throw new Error(
        `evalStrategy is '${this.args.evalStrategy}', and there is no evalDataset; give one, or evalStrategy: 'no'.`,
      )
    }
  }

  /**
   * Trains. With `outputDir` it is decided before the first step whether the model may be saved there.
   *
   * @param options.signal stops it between two passes
   * @throws {TrainingInterrupted} when the signal stopped it
   * @throws {NonFiniteError} when the loss or the gradient is not finite
   */
  async train(options: { signal?: AbortSignal } = {}): Promise<TrainResult> {
    refuseUnknown('train', options, ['signal'])
    if (!this.#train) throw new Error('There is nothing to train on: give the Trainer a trainDataset.')
    if (this.#training)
      throw new Error('This Trainer is training already; wait for it, or make another for another model.')
    this.#training = true
    try {
      const { model, args, task } = this
      const evaluates = args.evalStrategy !== 'no'
      return await TrainingRun.run({
        model,
        args,
        task,
        train: this.#train,
        collate: this.#collate,
        evaluation: evaluates ? { examples: this.#eval!, evaluator: vector => this.#evaluator(vector) } : undefined,
        output: args.saveStrategy === 'no' ? undefined : await this.#claim(args.outputDir!),
        callbacks: this.#options.callbacks ?? [],
        engine: this.#options.engine,
        signal: options.signal,
      })
    } finally {
      this.#training = false
    }
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
    await output.write(path => this.model.savePretrained(path))
  }

  async #claim(folder: string) {
    // Loaded here and not above, so that a browser can train models without Node's modules.
    const { OutputFolder } = await import('./output-folder.ts')
    return OutputFolder.claim(folder, { overwrite: this.args.overwriteOutputDir, model: this.model })
  }

  async #freshEvaluator(): Promise<Evaluator<E>> {
    this.model.initialize(this.args.seed)
    return this.#evaluator(await ParameterVector.load(varyingParameters(this.model)))
  }

  #evaluator(vector: ParameterVector): Evaluator<E> {
    const { model, task, args } = this
    const { computeMetrics, engine } = this.#options
    const { mode, threads, perDeviceEvalBatchSize: batchSize } = args
    return new Evaluator({
      model,
      vector,
      task,
      computeMetrics,
      engine,
      mode,
      threads,
      batchSize,
      collate: this.#collate,
    })
  }

  #padding(): DataCollator<E> {
    const { tokenizer, padTokenId } = this.#options
    const own = factsOf(this.model).pad_token_id ?? undefined
    // Classifiers on decoders find the last token by the configuration's padding token.
    const preferred = this.task === 'SEQ_CLS' ? (own ?? tokenizer?.padTokenId) : (tokenizer?.padTokenId ?? own)
    const { padToMultipleOf } = this.args
    return paddingCollator(this.model, {
      padTokenId: padTokenId ?? preferred,
      padToMultipleOf,
      task: this.task,
    }) as DataCollator<unknown>
  }

  #examples(source: ExampleSource<E>, name: string): Examples<E> {
    const { tokenizer, tokenization = {}, dataCollator, onWarning = console.warn } = this.#options
    const facts = factsOf(this.model)
    const how = { tokenizer, task: this.task, facts, options: tokenization, labels: this.#labels, onWarning }
    const examples = toExamples(source, name, how)
    if (!dataCollator) {
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
