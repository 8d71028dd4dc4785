/** @file Pause, continue, resume later and stop: what a page asks of the training whose callback it is. */
import type { TrainerCallback, TrainerControl, TrainResult } from '../training/index.ts'

/** Where a training stands that can be controlled. */
export interface ControlState {
  phase: 'preparing' | 'running' | 'paused' | 'suspending' | 'stopping' | 'ended'
  step: number
  max_steps: number
  /** Whether checkpoints have a place to be written to. */
  can_suspend: boolean
}

/**
 * What can be asked: to hold between two steps, and to go on; to end with a checkpoint from which the training can be
 * resumed; to end as if it were complete.
 */
export type ControlAction = 'pause' | 'continue' | 'suspend' | 'stop'

/** The values of {@link ControlAction}. */
export const CONTROL_ACTIONS: readonly ControlAction[] = ['pause', 'continue', 'suspend', 'stop']

const PHASES: Readonly<Record<ControlAction, ControlState['phase']>> = {
  pause: 'paused',
  continue: 'running',
  suspend: 'suspending',
  stop: 'stopping',
}

/** Holds a training between two steps, or asks it to end. */
export class TrainingControl {
  readonly callback: TrainerCallback<TrainResult>
  readonly state: ControlState = { phase: 'preparing', step: 0, max_steps: 0, can_suspend: false }
  #control: TrainerControl | undefined
  #release: (() => void) | undefined

  /** @param signal the one that interrupts the training; it must not wait for a paused one */
  constructor(signal?: AbortSignal) {
    signal?.addEventListener('abort', () => this.#release?.(), { once: true })
    this.callback = {
      onTrainBegin: ({ step, maxSteps }, control) => {
        this.#control = control
        const { outputDir, saveStrategy } = control.args
        const can_suspend = outputDir !== undefined && saveStrategy !== 'no'
        Object.assign(this.state, { step, max_steps: maxSteps, phase: 'running', can_suspend })
      },
      onStepEnd: async ({ step }) => {
        this.state.step = step
        while (this.state.phase === 'paused' && !signal?.aborted) {
          await new Promise<void>(resolve => (this.#release = resolve))
        }
      },
      onSkip: ({ step }) => void (this.state.step = step),
      onPause: () => void (this.state.phase = 'ended'),
      onTrainEnd: () => void (this.state.phase = 'ended'),
      onTrainError: () => void (this.state.phase = 'ended'),
    }
  }

  /** Does what is asked; false where it cannot be done now. */
  ask(action: ControlAction): boolean {
    const { phase, can_suspend } = this.state
    if (!this.#control || (phase !== 'running' && phase !== 'paused')) return false
    if (action === 'suspend' && !can_suspend) return false
    if (action === 'stop') this.#control.shouldTrainingStop = true
    if (action === 'suspend') this.#control.shouldPause = true
    this.state.phase = PHASES[action]
    this.#release?.()
    return true
  }
}
