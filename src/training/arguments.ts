/** @file `TrainingArguments`: how a training goes, with Transformers' names and defaults. */
import { QUANTIZED_PRODUCTS, type QuantizedProducts } from '../runtime/kernels.ts'
import { didYouMean } from '../util/nearest.ts'
import { fits, type ValueKind, type ValueSchema } from '../util/value-schema.ts'
import { SCHEDULER_TYPES, type SchedulerType } from './schedules.ts'

/** When something is done during training. */
export type IntervalStrategy = 'no' | 'steps' | 'epoch'

/**
 * When something is saved: never; the model at the end; the model at each new best evaluation; or, so that a training
 * can be resumed, a checkpoint every `saveSteps` steps or after every epoch, and the model at the end.
 */
export type SaveStrategy = 'no' | 'end' | 'steps' | 'epoch' | 'best'

/** What is done about a loss or a gradient that is NaN or infinite. */
export type NonFinitePolicy = 'stop' | 'skip' | 'backoff'

/** What is done about a loss that is far above the others. */
export type SpikePolicy = 'ignore' | NonFinitePolicy

/** Where what frozen layers compute is kept; `auto` decides whether it pays, false computes it at each step. */
export type CacheActivations = 'auto' | 'memory' | 'disk' | false

/** The values of {@link CacheActivations} that are texts. */
export const CACHE_ACTIVATIONS = ['auto', 'memory', 'disk'] as const

/** The values of {@link NonFinitePolicy}. */
export const NON_FINITE_POLICIES: readonly NonFinitePolicy[] = ['stop', 'skip', 'backoff']

/** The values of {@link SpikePolicy}. */
export const SPIKE_POLICIES: readonly SpikePolicy[] = ['ignore', ...NON_FINITE_POLICIES]

/** The options of a training, checked. Each has a default; see the properties. */
export class TrainingArguments {
  /** The folder that the trained model or adapter is saved to: one complete model, and checkpoints in folders of their own. */
  readonly outputDir: string | undefined = undefined
  /** Whether an `outputDir` that holds a model already may be replaced. */
  readonly overwriteOutputDir: boolean = false
  /** The highest learning rate of the schedule. */
  readonly learningRate: number = 5e-5
  /** How often the data is seen; a fraction ends within an epoch. */
  readonly numTrainEpochs: number = 3
  /** The number of optimizer steps; where it is not -1 it decides instead of `numTrainEpochs`. */
  readonly maxSteps: number = -1
  /** Examples in one forward and backward pass. */
  readonly perDeviceTrainBatchSize: number = 8
  /** Examples in one forward pass of an evaluation. */
  readonly perDeviceEvalBatchSize: number = 8
  /** Passes whose gradients make one step. */
  readonly gradientAccumulationSteps: number = 1
  /** Weight decay; biases and the weights of normalisations do not decay. */
  readonly weightDecay: number = 0
  /** The largest norm of all gradients together; longer ones are scaled down. 0 switches it off. */
  readonly maxGradNorm: number = 1
  /** How the learning rate changes over the steps. */
  readonly lrSchedulerType: SchedulerType = 'linear'
  /** Steps in which the learning rate rises from 0; a number below 1 is a share of all steps. */
  readonly warmupSteps: number = 0
  /** The share of all steps in which the learning rate rises, in place of `warmupSteps`. */
  readonly warmupRatio: number = 0
  /** The optimizer. */
  readonly optim: 'adamw' | 'sgd' = 'adamw'
  /** The momentum of `sgd`. */
  readonly momentum: number = 0
  /** Nesterov's form of the momentum of `sgd`. */
  readonly nesterov: boolean = false
  /** How slowly AdamW's mean of gradients changes. */
  readonly adamBeta1: number = 0.9
  /** How slowly AdamW's mean of squared gradients changes. */
  readonly adamBeta2: number = 0.999
  /** Added to the root of AdamW's mean of squared gradients. */
  readonly adamEpsilon: number = 1e-8
  /** Steps between two logs; what is left at the end is logged too. */
  readonly loggingSteps: number = 10
  /** When the evaluation data is evaluated. */
  readonly evalStrategy: IntervalStrategy = 'no'
  /** Steps between two evaluations for `evalStrategy: 'steps'`; by default `loggingSteps`. */
  readonly evalSteps: number | undefined = undefined
  /** When the model is saved to `outputDir`; by default at the end, where there is an `outputDir`. */
  readonly saveStrategy: SaveStrategy = 'no'
  /** Steps between two checkpoints for `saveStrategy: 'steps'`. */
  readonly saveSteps: number = 500
  /** How many checkpoints are kept, beside that of the best evaluation; by default all. */
  readonly saveTotalLimit: number | undefined = undefined
  /** Whether the values of the best evaluation are the ones left in the model. */
  readonly loadBestModelAtEnd: boolean = false
  /** The metric that says what is best, with or without `eval_`. */
  readonly metricForBestModel: string = 'loss'
  /** Whether more of that metric is better; by default unless it is `loss` or `perplexity`. */
  readonly greaterIsBetter: boolean = false
  /** Evaluations without a better `metricForBestModel` after which the training ends; by default it goes on. */
  readonly earlyStoppingPatience: number | undefined = undefined
  /** By how much that metric must be better to count. */
  readonly earlyStoppingThreshold: number = 0
  /**
   * What is done about a loss or gradient that is NaN or infinite. `stop` ends the training; `skip` leaves values and
   * optimizer as they are and goes on with the next batch; `backoff` also returns to the last good state and halves the
   * learning rate.
   */
  readonly onNonFinite: NonFinitePolicy = 'stop'
  /** What is done about a loss above `spikeFactor` times the median of the losses before. */
  readonly onSpike: SpikePolicy = 'ignore'
  /** How many times the median of the last losses a spike is. */
  readonly spikeFactor: number = 3
  /** The number of losses that the median is of; until there are so many nothing is a spike. */
  readonly spikeWindow: number = 20
  /** Bad steps in a row, skipped or backed off from, after which the training ends with an error. */
  readonly maxBadSteps: number = 10
  /** Steps between two states that `backoff` can return to. */
  readonly backoffSteps: number = 20
  /** Decides the order of the data, the dropout and the first values of new parameters. */
  readonly seed: number = 42
  /**
   * Whether texts of similar length share a batch, which saves padding; other examples have no length. Where texts may
   * share rows (`packing`) there is no need: batches are drawn from all texts.
   */
  readonly groupByLength: boolean = true
  /**
   * Whether the texts of a batch may share rows, as long as the longest of them, kept apart by attention: the same loss
   * and gradient of fewer positions. It is done where a causal language model and its adapters allow it and it saves 5 %
   * of the positions or more.
   */
  readonly packing: boolean = true
  /** Batches are padded to a multiple of this length. */
  readonly padToMultipleOf: number = 1
  /** Whether a last batch that is not full is left out of each epoch. */
  readonly dataloaderDropLast: boolean = false
  /** Whether to spend memory for speed; see `CompileOptions`. */
  readonly mode: 'fast' | 'small' = 'fast'
  /** Whether layers are computed again in the backward pass and not kept: far less memory, about a third more time. */
  readonly gradientCheckpointing: boolean = false
  /** The number of threads; by default one a processor. */
  readonly threads: number | undefined = undefined
  /** Whether what `fast` repacks is kept on disk and mapped from there; see `CompileOptions`. */
  readonly keepPacked: boolean = false
  /**
   * How products with a base in `int8-channel` are computed: exactly, or in 8-bit arithmetic; see `CompileOptions`. By
   * default in 8-bit arithmetic where measuring on this processor, once, finds that it is faster.
   */
  readonly quantizedProducts: QuantizedProducts = 'auto'
  /**
   * Whether what the frozen layers below everything that trains compute of each example is kept, in memory or in a file,
   * and not computed again in further passes over the data. By default where that is exact and saves a tenth of all work
   * or more: in memory, else on disk up to 16 times `cacheActivationsMemory`.
   */
  readonly cacheActivations: CacheActivations = 'auto'
  /** The most that kept activations may take in memory, in MB; more goes to a file, which is removed at the end. */
  readonly cacheActivationsMemory: number = 512

  /** @throws for an unknown option (naming the nearest), a value that does not fit, and options that contradict. */
  constructor(options: TrainingArgumentsOptions = {}) {
    const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
    for (const [name, value] of Object.entries(given)) check(name, value)
    const metric = String(given.metricForBestModel ?? 'loss').replace(/^eval_/, '')
    Object.assign(this, {
      saveStrategy: given.outputDir === undefined ? 'no' : 'end',
      evalSteps: given.evalStrategy === 'steps' ? (given.loggingSteps ?? this.loggingSteps) : undefined,
      greaterIsBetter: !/(^|_)(loss|perplexity)$/.test(metric),
      ...given,
      metricForBestModel: metric,
    })
    this.#refuseContradictions(given)
  }

  /** The number of warm-up steps of a training of `numTrainingSteps` steps; a share is rounded up. */
  getWarmupSteps(numTrainingSteps: number): number {
    const share = this.warmupRatio > 0 ? this.warmupRatio : this.warmupSteps
    return share >= 1 && this.warmupRatio === 0 ? Math.floor(share) : Math.ceil(numTrainingSteps * share)
  }

  /** The names of all options. */
  static optionNames(): TrainingOption[] {
    return Object.keys(checks) as TrainingOption[]
  }

  /** What an option takes. */
  static optionKind(name: TrainingOption): ValueKind {
    return checks[name]
  }

  #refuseContradictions(given: TrainingArgumentsOptions): void {
    const evaluates = this.evalStrategy !== 'no'
    const refuse = (reason: string) => {
      throw new Error(`TrainingArguments: ${reason}`)
    }
    if (this.warmupSteps > 0 && this.warmupRatio > 0) refuse('warmupSteps and warmupRatio were both given; give one.')
    if (this.lrSchedulerType === 'constant' && (this.warmupSteps > 0 || this.warmupRatio > 0)) {
      refuse("the schedule 'constant' has no warm-up; take lrSchedulerType: 'constant_with_warmup'.")
    }
    if (this.saveStrategy !== 'no' && this.outputDir === undefined) {
      refuse(`saveStrategy is '${this.saveStrategy}', and no outputDir says where to; give one, or saveStrategy: 'no'.`)
    }
    if (this.loadBestModelAtEnd && !evaluates) {
      refuse("loadBestModelAtEnd needs evaluations to compare; set evalStrategy to 'epoch' or 'steps'.")
    }
    if (this.saveStrategy === 'best' && !evaluates) {
      refuse("saveStrategy 'best' needs evaluations to compare; set evalStrategy to 'epoch' or 'steps'.")
    }
    if (given.evalSteps !== undefined && this.evalStrategy !== 'steps') {
      refuse(`evalSteps is ${given.evalSteps}, and evalStrategy is '${this.evalStrategy}'; set it to 'steps'.`)
    }
    if (given.saveSteps !== undefined && this.saveStrategy !== 'steps') {
      refuse(`saveSteps is ${given.saveSteps}, and saveStrategy is '${this.saveStrategy}'; set it to 'steps'.`)
    }
    if (this.saveTotalLimit !== undefined && this.saveStrategy !== 'steps' && this.saveStrategy !== 'epoch') {
      refuse(
        `saveTotalLimit counts checkpoints, and saveStrategy is '${this.saveStrategy}'; set it to 'steps' or 'epoch'.`,
      )
    }
    if (this.earlyStoppingPatience !== undefined && !evaluates) {
      refuse("earlyStoppingPatience needs evaluations to compare; set evalStrategy to 'epoch' or 'steps'.")
    }
    if (this.earlyStoppingThreshold > 0 && this.earlyStoppingPatience === undefined) {
      refuse('earlyStoppingThreshold belongs to earlyStoppingPatience; give that too.')
    }
    for (const name of ['spikeFactor', 'spikeWindow'] as const) {
      if (given[name] === undefined || this.onSpike !== 'ignore') continue
      refuse(`${name} says what a spike is, and onSpike is 'ignore'; set it to 'skip', 'backoff' or 'stop'.`)
    }
    if (given.backoffSteps !== undefined && this.onSpike !== 'backoff' && this.onNonFinite !== 'backoff') {
      refuse("backoffSteps belongs to onNonFinite: 'backoff' and onSpike: 'backoff'; set one of them.")
    }
    if (this.optim !== 'sgd' && (this.momentum > 0 || this.nesterov)) {
      refuse(`momentum and nesterov belong to optim: 'sgd'; '${this.optim}' has adamBeta1 in their place.`)
    }
    if (this.nesterov && this.momentum === 0) refuse('nesterov needs a momentum above 0.')
  }
}

// biome-ignore lint/suspicious/noExplicitAny: only tells methods from options
type Method = (...values: any[]) => unknown

/** The name of an option of {@link TrainingArguments}. */
export type TrainingOption = {
  [K in keyof TrainingArguments]: TrainingArguments[K] extends Method ? never : K
}[keyof TrainingArguments]

/** What {@link TrainingArguments} may be given. */
export type TrainingArgumentsOptions = Partial<Pick<TrainingArguments, TrainingOption>>

const kind = (expected: string, schema: ValueSchema): ValueKind => ({ expected, schema })
const oneOf = (values: readonly string[]): ValueKind =>
  kind(`one of ${values.map(value => `'${value}'`).join(', ')}`, { enum: values })
const count = kind('a whole number from 1 on', { type: 'integer', minimum: 1 })
const notNegative = kind('a number from 0 on', { type: 'number', minimum: 0 })
const positive = kind('a number above 0', { type: 'number', exclusiveMinimum: 0 })
const share = kind('a number from 0 to below 1', { type: 'number', minimum: 0, exclusiveMaximum: 1 })
const flag = kind('true or false', { type: 'boolean' })
const text = kind('a text that is not empty', { type: 'string', minLength: 1 })

const checks: Readonly<Record<TrainingOption, ValueKind>> = {
  outputDir: text,
  overwriteOutputDir: flag,
  learningRate: notNegative,
  numTrainEpochs: positive,
  maxSteps: kind('a whole number from 1 on, or -1', { anyOf: [count.schema, { enum: [-1] }] }),
  perDeviceTrainBatchSize: count,
  perDeviceEvalBatchSize: count,
  gradientAccumulationSteps: count,
  weightDecay: notNegative,
  maxGradNorm: notNegative,
  lrSchedulerType: oneOf(SCHEDULER_TYPES),
  warmupSteps: kind('a whole number of steps, or a share of them below 1', { anyOf: [share.schema, count.schema] }),
  warmupRatio: kind('a number from 0 to 1', { type: 'number', minimum: 0, maximum: 1 }),
  optim: oneOf(['adamw', 'sgd']),
  momentum: share,
  nesterov: flag,
  adamBeta1: share,
  adamBeta2: share,
  adamEpsilon: notNegative,
  loggingSteps: count,
  evalStrategy: oneOf(['no', 'steps', 'epoch']),
  evalSteps: count,
  saveStrategy: oneOf(['no', 'end', 'steps', 'epoch', 'best']),
  saveSteps: count,
  saveTotalLimit: count,
  loadBestModelAtEnd: flag,
  metricForBestModel: text,
  greaterIsBetter: flag,
  earlyStoppingPatience: count,
  earlyStoppingThreshold: notNegative,
  onNonFinite: oneOf(NON_FINITE_POLICIES),
  onSpike: oneOf(SPIKE_POLICIES),
  spikeFactor: kind('a number above 1', { type: 'number', exclusiveMinimum: 1 }),
  spikeWindow: count,
  maxBadSteps: count,
  backoffSteps: count,
  seed: kind('a whole number from 0 on', { type: 'integer', minimum: 0 }),
  groupByLength: flag,
  packing: flag,
  padToMultipleOf: count,
  dataloaderDropLast: flag,
  mode: oneOf(['fast', 'small']),
  gradientCheckpointing: flag,
  threads: count,
  keepPacked: flag,
  quantizedProducts: oneOf(QUANTIZED_PRODUCTS),
  cacheActivations: kind("one of 'auto', 'memory', 'disk', or false", { enum: [...CACHE_ACTIVATIONS, false] }),
  cacheActivationsMemory: notNegative,
}

function check(name: string, value: unknown): void {
  if (!Object.hasOwn(checks, name)) {
    throw new Error(`TrainingArguments has no option "${name}".${didYouMean(name, Object.keys(checks))}`)
  }
  const { schema, expected } = checks[name as TrainingOption]
  if (fits(value, schema)) return
  const got = typeof value === 'string' ? `'${value}'` : String(value)
  const hint =
    typeof value === 'string' && expected.startsWith('one of') ? didYouMean(value, expected.match(/\w+(?=')/g)!) : ''
  throw new Error(`TrainingArguments: ${name} is ${got}, expected ${expected}.${hint}`)
}
