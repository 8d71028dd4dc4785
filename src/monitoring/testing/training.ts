/** @file A training without a model: the Trainer's calls, in the order in which it makes them. */
import {
  type EvaluationLog,
  type TrainerCallback,
  type TrainerControl,
  type TrainerState,
  TrainingArguments,
  type TrainingLog,
  type TrainResult,
} from '../../training/index.ts'

/** The log of a step. */
export const logOf = (step: number): TrainingLog => ({
  step,
  epoch: step / 10,
  loss: 1 / (step + 1),
  learning_rate: 1e-3 / (step + 1),
  grad_norm: 0.5 + step / 7,
  tokens_per_second: 1000 + step,
})

/** The evaluation of a step. */
export const evaluationOf = (step: number): EvaluationLog => ({ step, epoch: step / 10, eval_loss: 2 / (step + 1) })

/** Calls of the Trainer to callbacks. */
export class CalledTraining {
  readonly state: TrainerState
  readonly control: TrainerControl
  readonly #callbacks: readonly TrainerCallback<TrainResult>[]

  constructor(callbacks: readonly TrainerCallback<TrainResult>[], state: Partial<TrainerState> = {}) {
    this.#callbacks = callbacks
    const fresh = { step: 0, epoch: 0, maxSteps: 20, bestMetric: undefined, bestStep: undefined, savedStep: undefined }
    this.state = { ...fresh, history: [], ...state }
    this.control = {
      ...{ shouldTrainingStop: false, shouldSave: false, shouldPause: false },
      state: this.state,
      args: new TrainingArguments({ learningRate: 0.003, outputDir: 'out' }),
    }
  }

  /** Calls every callback in turn. */
  async call<Name extends keyof TrainerCallback<TrainResult>>(
    name: Name,
    event: Parameters<NonNullable<TrainerCallback<TrainResult>[Name]>>[0],
  ): Promise<void> {
    for (const callback of this.#callbacks) {
      const listener = callback[name] as ((event: unknown, control: TrainerControl) => unknown) | undefined
      await listener?.call(callback, event, this.control)
    }
  }

  begin(): Promise<void> {
    return this.call('onTrainBegin', this.state)
  }

  async log(step: number): Promise<void> {
    const log = logOf(step)
    this.state.step = step
    this.state.history.push(log)
    await this.call('onLog', log)
  }

  async evaluate(step: number): Promise<void> {
    const log = evaluationOf(step)
    this.state.history.push(log)
    await this.call('onEvaluate', log)
  }

  end(): Promise<void> {
    const { step: globalStep, history } = this.state
    return this.call('onTrainEnd', {
      ...{ globalStep, history, trainingLoss: 0.5, metrics: { eval_loss: 0.1 }, secondsPerStep: 0.1 },
      ...{ tokensPerSecond: 100, stopped: false, pausedAt: undefined, badSteps: 0 },
      ...{ bestMetric: undefined, bestStep: undefined },
    })
  }
}
