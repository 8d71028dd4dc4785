/** @file Bad steps: values that are not finite and spikes of the loss, and what the arguments say to do about them. */
import type { ParameterVector } from '../nn/index.ts'
import type { NonFinitePolicy, TrainingArguments } from './arguments.ts'
import type { Optimizer, OptimizerState } from './optimizers/optimizer.ts'

/** What is wrong with a step. */
export interface Anomaly {
  reason: 'non-finite' | 'spike'
  /** In words. */
  problem: string
  loss: number
  /** The examples that it was seen with. */
  examples: readonly number[]
}

/** A state that gave a good loss and gradient. */
export interface GoodState {
  /** The finished steps. */
  step: number
  values: Float32Array
  optimizer: OptimizerState
}

/** What a checkpoint holds of {@link Anomalies}, the good state left out. */
export interface AnomaliesState {
  rate_factor: number
  in_a_row: number
  total: number
  losses: number[]
}

/** Watches the steps of a training. All that it decides follows from the losses, so that it is the same at each run. */
export class Anomalies {
  /** The factor on all learning rates. */
  rateFactor = 1
  /** Bad steps since the last good one. */
  inARow = 0
  /** Bad steps so far. */
  total = 0
  /** Where `backoff` returns to. */
  good: GoodState | undefined
  readonly #args: TrainingArguments
  #losses: number[] = []

  constructor(args: TrainingArguments) {
    this.#args = args
  }

  /** What is to be done about an anomaly. */
  policyFor({ reason }: Anomaly): NonFinitePolicy {
    const { onSpike, onNonFinite } = this.#args
    if (reason === 'non-finite') return onNonFinite
    return onSpike === 'ignore' ? 'stop' : onSpike
  }

  /** What is wrong with a loss that is finite: whether it lies far above the median of those before. */
  spike(loss: number): string | undefined {
    const { onSpike, spikeFactor, spikeWindow } = this.#args
    if (onSpike === 'ignore' || this.#losses.length < spikeWindow) return undefined
    const sorted = this.#losses.toSorted((a, b) => a - b)
    const middle = sorted.length >> 1
    const median = sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
    if (!(median > 0 && loss > spikeFactor * median)) return undefined
    const times = (loss / median).toPrecision(3)
    return `the loss is ${loss.toPrecision(6)}, ${times} times the median of the last ${sorted.length} (${median.toPrecision(6)})`
  }

  /** Takes note of a step whose loss and gradient are good, before it changes the values. */
  passed(step: number, loss: number, vector: ParameterVector, optimizer: Optimizer): void {
    const { onSpike, onNonFinite, spikeWindow, backoffSteps } = this.#args
    this.inARow = 0
    if (onSpike !== 'ignore') this.#losses = [...this.#losses, loss].slice(-spikeWindow)
    if (onSpike !== 'backoff' && onNonFinite !== 'backoff') return
    if (this.good && step % backoffSteps !== 0) return
    this.good = { step, values: vector.data.slice(), optimizer: optimizer.state() }
  }

  /** Returns to the last good state, if there is one, and halves the rate; gives the step that the state is of. */
  backOff(vector: ParameterVector, optimizer: Optimizer): number | undefined {
    this.rateFactor /= 2
    if (!this.good) return undefined
    vector.data.set(this.good.values)
    optimizer.loadState(this.good.optimizer)
    return this.good.step
  }

  state(): AnomaliesState {
    return { rate_factor: this.rateFactor, in_a_row: this.inARow, total: this.total, losses: [...this.#losses] }
  }

  /** Goes on from a checkpoint. */
  loadState({ rate_factor, in_a_row, total, losses }: AnomaliesState, good: GoodState | undefined): void {
    this.rateFactor = rate_factor
    this.inARow = in_a_row
    this.total = total
    this.#losses = [...losses]
    this.good = good
  }
}
