/** @file Callbacks: what a training tells while it runs, and how it is asked to stop. */
import type { TrainingArguments } from './arguments.ts'
import type { Predictions } from './evaluation.ts'

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
  /** The step whose values the model in `outputDir` is of; checkpoints are not meant. */
  savedStep: number | undefined
  /** All logs and evaluations so far. */
  history: (TrainingLog | EvaluationLog)[]
}

/** What callbacks can change. */
export interface TrainerControl {
  /** Set to true, the training ends after what is being done now, as if it were complete. */
  shouldTrainingStop: boolean
  /** Set to true, a checkpoint is written after this step, where there is an `outputDir`. */
  shouldSave: boolean
  /** Set to true, the training pauses after this step: a checkpoint is written, from which it can be resumed. */
  shouldPause: boolean
  readonly state: Readonly<TrainerState>
  /** How the training goes. */
  readonly args: TrainingArguments
}

/** What was done before the first step: the adapters whose method looked at the training data. */
export interface PreparationReport {
  adapters: readonly string[]
  seconds: number
}

/** What was kept before the first step, so that it is not computed again. */
export interface ActivationReport {
  where: 'memory' | 'disk'
  /** What it takes there. */
  bytes: number
  /** How many examples it was computed of. */
  examples: number
  /** The share of all operations of the training that is saved, as estimated. */
  saved: number
  /** What it took. */
  seconds: number
}

/** A bad step, after which the training went on all the same. */
export interface SkipReport {
  /** The step's number; it counts as taken, and there is no `onStepEnd` for it. */
  step: number
  epoch: number
  maxSteps: number
  /** What was wrong: a value that is not finite, or a loss far above the others. */
  reason: 'non-finite' | 'spike'
  /** The same in words. */
  problem: string
  /** What was done: nothing was changed, or the last good state was restored. */
  action: 'skip' | 'backoff'
  /** The loss, which may be NaN. */
  loss: number
  /** For `backoff` the step after which the restored values were. */
  restoredStep: number | undefined
  /** The factor that all learning rates are multiplied by from now on. */
  rateFactor: number
  /** Bad steps since the last good one, this one included. */
  inARow: number
  /** Bad steps of the whole training so far. */
  total: number
}

type Callback<Event> = (event: Event, control: TrainerControl) => void | Promise<void>

/** What a callback is called with. */
export interface TrainerEvents<Result = unknown> {
  /** Before `onTrainBegin`, only where adapters looked at the data. */
  onPrepare: PreparationReport
  /** Before `onTrainBegin`, only where what frozen layers compute is kept. */
  onActivationsKept: ActivationReport
  onTrainBegin: Readonly<TrainerState>
  /** After `onTrainBegin`, only where the training goes on from a checkpoint; steps up to `step` are not told again. */
  onResume: { step: number; folder: string }
  /** In the place of `onStepEnd` for a bad step that was skipped or backed off from. */
  onSkip: SkipReport
  onStepEnd: StepReport
  onLog: TrainingLog
  /** The scores of the evaluation data, before `onEvaluate`; only where a metric is made of them. */
  onPredict: Predictions & { step: number }
  onEvaluate: EvaluationLog
  /** After a checkpoint or the model itself was written; `folder` tells which. */
  onSave: { step: number; folder: string }
  onEpochEnd: { step: number; epoch: number }
  onTrainEnd: Result
  /** In the place of `onTrainEnd` where the training pauses; `folder` is the checkpoint that it can go on from. */
  onPause: { step: number; folder: string }
  /** In the place of `onTrainEnd` where the training ends by an error, an interruption included; it is thrown on. */
  onTrainError: { step: number; error: unknown }
}

/** Functions by the events that they are called at. */
export type EventCallbacks<Result = unknown> = {
  [Name in keyof TrainerEvents<Result>]?: Callback<TrainerEvents<Result>[Name]>
}

/** Functions that are called during a training; it waits for each. What one throws ends the training. */
export type TrainerCallback<Result = unknown> = EventCallbacks<Result> & {
  /** What checkpoints hold of it, as JSON. */
  state?(): unknown
  /** Goes on from what `state` gave, when a training is resumed: after `onTrainBegin`, before `onResume`. */
  loadState?(state: unknown): void
}

/** Options of {@link EarlyStoppingCallback}. */
export interface EarlyStoppingOptions {
  /** Evaluations without a new best after which the training stops; 1 by default. */
  earlyStoppingPatience?: number
  /** By how much the metric must be better than the best before to count; 0 by default. */
  earlyStoppingThreshold?: number
}

/** Stops a training when `metricForBestModel` has not improved for a number of evaluations. */
export class EarlyStoppingCallback implements TrainerCallback {
  readonly patience: number
  readonly threshold: number
  #waited = 0
  #best: number | undefined

  constructor({ earlyStoppingPatience = 1, earlyStoppingThreshold = 0 }: EarlyStoppingOptions = {}) {
    if (!(Number.isInteger(earlyStoppingPatience) && earlyStoppingPatience >= 1)) {
      throw new Error(`earlyStoppingPatience is ${earlyStoppingPatience}, expected a whole number from 1 on`)
    }
    if (!(earlyStoppingThreshold >= 0 && earlyStoppingThreshold < Number.POSITIVE_INFINITY)) {
      throw new Error(`earlyStoppingThreshold is ${earlyStoppingThreshold}, expected a number from 0 on`)
    }
    this.patience = earlyStoppingPatience
    this.threshold = earlyStoppingThreshold
  }

  /** Starts to count. */
  onTrainBegin(): void {
    this.#waited = 0
    this.#best = undefined
  }

  /** Counts the evaluations since the metric last improved by more than the threshold. */
  onEvaluate({ step }: EvaluationLog, control: TrainerControl): void {
    const { bestMetric, bestStep } = control.state
    const gain = this.#best === undefined ? Number.POSITIVE_INFINITY : Math.abs(bestMetric! - this.#best)
    const improved = bestStep === step && gain > this.threshold
    this.#best = bestMetric
    this.#waited = improved ? 0 : this.#waited + 1
    if (this.#waited >= this.patience) control.shouldTrainingStop = true
  }

  /** What a checkpoint holds. */
  state(): { waited: number; best: number | null } {
    return { waited: this.#waited, best: this.#best ?? null }
  }

  /** Goes on counting from {@link EarlyStoppingCallback.state}. */
  loadState(state: unknown): void {
    const { waited, best } = state as { waited: number; best: number | null }
    this.#waited = waited
    this.#best = best ?? undefined
  }
}
