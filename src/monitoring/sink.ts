/** @file A sink takes the events of a training; this makes a callback of the Trainer of it. */
import type { TrainerCallback, TrainerState, TrainResult } from '../training/index.ts'
import {
  beginEvent,
  endEvent,
  errorEvent,
  evaluationEvent,
  logEvent,
  pauseEvent,
  type ResumeEvent,
  type RunEvent,
  type StartEvent,
  saveEvent,
  skipEvent,
} from './events.ts'
import type { Samples } from './samples.ts'

/**
 * Whether something that an earlier process recorded belongs to the training before the checkpoint. What happened at its
 * very step may have been after it, and then happens again.
 */
export type Keeps = (kind: RunEvent['event'], step: number) => boolean

/** What events are written to. */
export interface Sink {
  /** A training begins, anew or from a checkpoint; then `keeps` says what of an earlier record is before it. */
  begin(event: StartEvent | ResumeEvent, keeps: Keeps): Promise<void>
  write(event: RunEvent): Promise<void>
}

/** Options of what records a training. */
export interface RecordOptions {
  /** What the record of the start says beside the training arguments, such as the model and the method. */
  details?: Readonly<Record<string, unknown>>
  /** Examples to which the model's answers are recorded at each evaluation; see `trainingSamples`. */
  samples?: Samples
  /** Takes what should be known and prevents nothing; `console.warn` by default. */
  onWarning?: (message: string) => void
}

/** A callback that gives each event of a training to `sink`. */
export function recording(sink: Sink, { details = {}, samples }: RecordOptions): TrainerCallback<TrainResult> {
  return {
    onTrainBegin: (state, control) => sink.begin(beginEvent(state, control, details), keptBy(state)),
    onLog: log => sink.write(logEvent(log)),
    onPredict: predictions => samples?.consider(predictions),
    onEvaluate: async log => {
      await sink.write(evaluationEvent(log))
      const event = await samples?.at(log)
      if (event) await sink.write(event)
    },
    onSkip: report => sink.write(skipEvent(report)),
    onSave: report => sink.write(saveEvent(report)),
    onPause: report => sink.write(pauseEvent(report)),
    onTrainEnd: result => sink.write(endEvent(result)),
    onTrainError: report => sink.write(errorEvent(report)),
  }
}

/** What a training's own history says was before it. */
function keptBy({ step, history }: Readonly<TrainerState>): Keeps {
  const at = (isLog: boolean) => new Set(history.filter(log => 'grad_norm' in log === isLog).map(log => log.step))
  const [logs, evaluations] = [at(true), at(false)]
  return (kind, recorded) => {
    if (step === 0 || recorded > step || kind === 'end' || kind === 'error' || kind === 'pause') return false
    if (kind === 'log') return logs.has(recorded)
    return (kind !== 'evaluation' && kind !== 'samples') || evaluations.has(recorded)
  }
}
