/** @file Callbacks: what a training tells while it runs, and how it is asked to stop. */

/** What is logged every `loggingSteps` steps. */
export interface TrainingLog {
  /** Finished optimizer steps. */
  step: number
  /** Finished passes over the data, with fraction. */
  epoch: number
  /** The mean loss of the steps since the last log. */
  loss: number
  /** The learning rate of the last step. */
  learning_rate: number
  /** The norm of the last step's gradients, before clipping. */
  grad_norm: number
  /** Tokens (padding left out) a second since the last log, evaluations left out. */
  tokens_per_second: number
}

/** The metrics of an evaluation, each with the prefix `eval_`. */
export type EvaluationLog = { step: number; epoch: number } & Record<string, number>

/** One finished step. */
export interface StepReport {
  step: number
  epoch: number
  maxSteps: number
  loss: number
  learningRate: number
  gradNorm: number
  /** Tokens in the step's batches, padding left out; 0 where batches have no attention mask. */
  tokens: number
  /** What the step took; the first one includes the compilation. */
  seconds: number
}

/** Where a training stands. */
export interface TrainerState {
  /** Finished optimizer steps. */
  step: number
  /** Finished passes over the data, with fraction. */
  epoch: number
  /** The steps that the whole training has. */
  maxSteps: number
  /** The metric of the best evaluation so far, and the step it came after. */
  bestMetric: number | undefined
  bestStep: number | undefined
  /** The step whose values `outputDir` holds. */
  savedStep: number | undefined
  /** All logs and evaluations so far. */
  history: (TrainingLog | EvaluationLog)[]
}

/** What callbacks can change. */
export interface TrainerControl {
  /** Set to true, the training ends after what is being done now, as if it were complete. */
  shouldTrainingStop: boolean
  readonly state: Readonly<TrainerState>
}

/** What was done before the first step: the adapters whose method looked at the training data. */
export interface PreparationReport {
  adapters: readonly string[]
  seconds: number
}

type Callback<Event> = (event: Event, control: TrainerControl) => void | Promise<void>

/** What a callback is called with. */
export interface TrainerEvents<Result = unknown> {
  /** Before `onTrainBegin`, only where adapters looked at the data. */
  onPrepare: PreparationReport
  onTrainBegin: Readonly<TrainerState>
  onStepEnd: StepReport
  onLog: TrainingLog
  onEvaluate: EvaluationLog
  onSave: { step: number; folder: string }
  onEpochEnd: { step: number; epoch: number }
  onTrainEnd: Result
}

/** Functions that are called during a training; it waits for each. What one throws ends the training. */
export type TrainerCallback<Result = unknown> = {
  [Name in keyof TrainerEvents<Result>]?: Callback<TrainerEvents<Result>[Name]>
}

/** Options of {@link EarlyStoppingCallback}. */
export interface EarlyStoppingOptions {
  /** Evaluations without a new best after which the training stops; 1 by default. */
  earlyStoppingPatience?: number
}

/** Stops a training when `metricForBestModel` has not improved for a number of evaluations. */
export class EarlyStoppingCallback implements TrainerCallback {
  readonly patience: number
  #waited = 0

  constructor({ earlyStoppingPatience = 1 }: EarlyStoppingOptions = {}) {
    if (!(Number.isInteger(earlyStoppingPatience) && earlyStoppingPatience >= 1)) {
      throw new Error(`earlyStoppingPatience is ${earlyStoppingPatience}, expected a whole number from 1 on`)
    }
    this.patience = earlyStoppingPatience
  }

  /** Starts to count. */
  onTrainBegin(): void {
    this.#waited = 0
  }

  /** Counts the evaluations since the best. */
  onEvaluate({ step }: EvaluationLog, control: TrainerControl): void {
    this.#waited = control.state.bestStep === step ? 0 : this.#waited + 1
    if (this.#waited >= this.patience) control.shouldTrainingStop = true
  }
}
