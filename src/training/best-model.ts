/** @file The best evaluation so far, with the values that it was of. */
import type { ParameterVector } from '../nn/index.ts'
import { didYouMean } from '../util/nearest.ts'
import type { TrainingArguments } from './arguments.ts'
import type { EvaluationLog, TrainerState } from './callbacks.ts'

/** Compares evaluations by `metricForBestModel`, and keeps a copy of the best values where they are wanted at the end. */
export class BestModel {
  readonly #args: TrainingArguments
  readonly #vector: ParameterVector
  #values: Float32Array | undefined

  constructor(args: TrainingArguments, vector: ParameterVector) {
    this.#args = args
    this.#vector = vector
  }

  /**
   * Takes note of an evaluation, in `state` too. Equal is not better, and NaN is never the best.
   *
   * @returns whether it is the best so far
   * @throws when the evaluation has no such metric and something depends on it
   */
  consider(evaluation: EvaluationLog, state: TrainerState): boolean {
    const { metricForBestModel, greaterIsBetter, loadBestModelAtEnd, saveStrategy, earlyStoppingPatience } = this.#args
    const value = evaluation[`eval_${metricForBestModel}`]
    if (value === undefined) {
      if (!loadBestModelAtEnd && saveStrategy !== 'best' && earlyStoppingPatience === undefined) return false
      throw unknownMetric(metricForBestModel, evaluation)
    }
    const best = state.bestMetric ?? (greaterIsBetter ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY)
    if (!(greaterIsBetter ? value > best : value < best)) return false
    state.bestMetric = value
    state.bestStep = evaluation.step
    if (loadBestModelAtEnd) {
      if (this.#values) this.#values.set(this.#vector.data)
      else this.#values = this.#vector.data.slice()
    }
    return true
  }

  /** The best values, where they are kept. */
  get values(): Float32Array | undefined {
    return this.#values
  }

  /** Takes the best values of a checkpoint. */
  set values(values: Float32Array | undefined) {
    this.#values = values
  }

  /** Puts the best values back into the model, if there are any. */
  restore(): boolean {
    if (!this.#values) return false
    this.#vector.data.set(this.#values)
    return true
  }
}

function unknownMetric(name: string, evaluation: EvaluationLog): Error {
  const names = Object.keys(evaluation)
    .filter(key => key.startsWith('eval_'))
    .map(key => key.slice('eval_'.length))
  return new Error(
    `metricForBestModel is "${name}", which the evaluation does not give; it gives ${names.join(', ')}.${didYouMean(name, names)}`,
  )
}
