/** @file `TrainingArguments`: how a training goes, with Transformers' names and defaults. */
import { didYouMean } from '../util/nearest.ts'
import { SCHEDULER_TYPES, type SchedulerType } from './schedules.ts'

/** When something is done during training. */
export type IntervalStrategy = 'no' | 'steps' | 'epoch'

/** When the output folder is written: never, at the end, after every epoch, or at each new best evaluation. */
export type SaveStrategy = 'no' | 'end' | 'epoch' | 'best'

/** The options of a training, checked. Each has a default; see the properties. */
export class TrainingArguments {
  /** The folder that the trained model or adapter is saved to; always one complete model, never several. */
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
  /** Whether the values of the best evaluation are the ones left in the model. */
  readonly loadBestModelAtEnd: boolean = false
  /** The metric that says what is best, with or without `eval_`. */
  readonly metricForBestModel: string = 'loss'
  /** Whether more of that metric is better; by default unless it is `loss` or `perplexity`. */
  readonly greaterIsBetter: boolean = false
  /** Decides the order of the data, the dropout and the first values of new parameters. */
  readonly seed: number = 42
  /** Whether examples of similar length share a batch, which saves padding. */
  readonly groupByLength: boolean = false
  /** Batches are padded to a multiple of this length. */
  readonly padToMultipleOf: number = 1
  /** Whether a last batch that is not full is left out of each epoch. */
  readonly dataloaderDropLast: boolean = false
  /** Whether to spend memory for speed; see `CompileOptions`. */
  readonly mode: 'fast' | 'small' = 'fast'
  /** The number of threads; by default one a processor. */
  readonly threads: number | undefined = undefined

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

interface Check {
  expected: string
  accepts(value: unknown): boolean
}

const number = (expected: string, accepts: (value: number) => boolean): Check => ({
  expected,
  accepts: value => typeof value === 'number' && accepts(value),
})
const oneOf = (values: readonly string[]): Check => ({
  expected: `one of ${values.map(value => `'${value}'`).join(', ')}`,
  accepts: value => values.includes(value as string),
})
const count = number('a whole number from 1 on', value => Number.isInteger(value) && value >= 1)
const notNegative = number('a number from 0 on', value => value >= 0 && value < Number.POSITIVE_INFINITY)
const positive = number('a number above 0', value => value > 0 && value < Number.POSITIVE_INFINITY)
const share = number('a number from 0 to below 1', value => value >= 0 && value < 1)
const flag: Check = { expected: 'true or false', accepts: value => typeof value === 'boolean' }
const text: Check = {
  expected: 'a text that is not empty',
  accepts: value => typeof value === 'string' && value !== '',
}

const checks: Record<TrainingOption, Check> = {
  outputDir: text,
  overwriteOutputDir: flag,
  learningRate: notNegative,
  numTrainEpochs: positive,
  maxSteps: number('a whole number from 1 on, or -1', value => Number.isInteger(value) && (value >= 1 || value === -1)),
  perDeviceTrainBatchSize: count,
  perDeviceEvalBatchSize: count,
  gradientAccumulationSteps: count,
  weightDecay: notNegative,
  maxGradNorm: notNegative,
  lrSchedulerType: oneOf(SCHEDULER_TYPES),
  warmupSteps: number(
    'a whole number of steps, or a share of them below 1',
    value => (value >= 0 && value < 1) || (Number.isInteger(value) && value >= 1),
  ),
  warmupRatio: number('a number from 0 to 1', value => value >= 0 && value <= 1),
  optim: oneOf(['adamw', 'sgd']),
  momentum: share,
  nesterov: flag,
  adamBeta1: share,
  adamBeta2: share,
  adamEpsilon: notNegative,
  loggingSteps: count,
  evalStrategy: oneOf(['no', 'steps', 'epoch']),
  evalSteps: count,
  saveStrategy: oneOf(['no', 'end', 'epoch', 'best']),
  loadBestModelAtEnd: flag,
  metricForBestModel: text,
  greaterIsBetter: flag,
  seed: number('a whole number from 0 on', value => Number.isSafeInteger(value) && value >= 0),
  groupByLength: flag,
  padToMultipleOf: count,
  dataloaderDropLast: flag,
  mode: oneOf(['fast', 'small']),
  threads: count,
}

function check(name: string, value: unknown): void {
  if (!Object.hasOwn(checks, name)) {
    throw new Error(`TrainingArguments has no option "${name}".${didYouMean(name, Object.keys(checks))}`)
  }
  const { accepts, expected } = checks[name as TrainingOption]
  if (accepts(value)) return
  const got = typeof value === 'string' ? `'${value}'` : String(value)
  const hint =
    typeof value === 'string' && expected.startsWith('one of') ? didYouMean(value, expected.match(/\w+(?=')/g)!) : ''
  throw new Error(`TrainingArguments: ${name} is ${got}, expected ${expected}.${hint}`)
}
