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

/** A step that was not taken. The model holds the values from before it. */
abstract class BadStepError extends Error {
  /** The step, counted from 1. */
  readonly step: number

  constructor(step: number, message: string) {
    super(message)
    this.step = step
  }
}

/** A loss, gradient or value that is not finite. The model holds the values from before that step. */
export class NonFiniteError extends BadStepError {
  override readonly name = 'NonFiniteError'
}

/** A loss far above those before it, where `onSpike` is 'stop'. The model holds the values from before that step. */
export class LossSpikeError extends BadStepError {
  override readonly name = 'LossSpikeError'
}

/**
 * A checkpoint or the model could not be written, or a checkpoint not be resumed from. Checkpoints that were complete
 * are as they were. Its `cause` is what went wrong.
 */
export class CheckpointError extends Error {
  override readonly name = 'CheckpointError'
}

/** Another training is writing to the output folder. */
export class OutputFolderInUseError extends Error {
  override readonly name = 'OutputFolderInUseError'
}
