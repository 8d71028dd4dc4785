/** @file The ways a training ends early. */
import type { TrainerState } from './callbacks.ts'

/**
 * A training that its AbortSignal stopped. The model holds the values after the last complete step, nothing was
 * half-written. Its `name` is `AbortError`, as of everything that a signal stops; its `cause` is the signal's reason.
 */
export class TrainingInterrupted extends Error {
  override readonly name = 'AbortError'
  readonly code = 'ABORT_ERR'
  /** Where the training stood. */
  readonly state: TrainerState

  constructor(state: TrainerState, cause: unknown, saved: string) {
    super(
      `Training was interrupted after step ${state.step} of ${state.maxSteps}. The model holds the values of that step; ${saved}`,
      { cause },
    )
    this.state = state
  }
}

/** A loss, gradient or value that is not finite. The model holds the values from before that step. */
export class NonFiniteError extends Error {
  override readonly name = 'NonFiniteError'
  /** The step that could not be taken, counted from 1. */
  readonly step: number

  constructor(step: number, message: string) {
    super(message)
    this.step = step
  }
}
