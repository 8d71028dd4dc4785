/** @file What is recorded of a training: one event a log, an evaluation and whatever else happens. */
import { hostname } from 'node:os'
import { basename } from 'node:path'
import type { SkipReport } from '../training/callbacks.ts'
import type { EvaluationLog, TrainerControl, TrainerState, TrainingLog, TrainResult } from '../training/index.ts'

/** What all events have. */
interface Common {
  /** When it happened, as ISO 8601 with milliseconds. */
  time: string
  /** Finished optimizer steps. */
  step: number
}

/** The training begins. */
export interface StartEvent extends Common {
  event: 'start'
  max_steps: number
  /** The resolved training arguments by their names, and what the caller added: the model, the method, the data. */
  arguments: Record<string, unknown>
  /** The process that trains, by which one can tell whether it still does. */
  pid: number
  host: string
}

/** The training goes on from a checkpoint; what an earlier process recorded after that step was taken out. */
export interface ResumeEvent extends Common {
  event: 'resume'
  max_steps: number
  pid: number
  host: string
}

/** A log, with the resident memory of the process when it was made. */
export type LogEvent = { event: 'log'; memory_bytes: number } & Common & TrainingLog

/** An evaluation: the metrics begin with `eval_`. */
export type EvaluationEvent = { event: 'evaluation' } & Common & EvaluationLog

/** What the model says to an example that it does not learn from. */
export interface Sample {
  /** What it was given. */
  input: string
  /** What the data says; absent where that is not known. */
  expected?: string
  output: string
  /** The probability that a classifier gives to its output. */
  confidence?: number
}

/** What the model said to the same examples at an evaluation. */
export interface SamplesEvent extends Common {
  event: 'samples'
  kind: 'generation' | 'prediction'
  samples: Sample[]
}

/** The model was saved, or a checkpoint was written. */
export interface SaveEvent extends Common {
  event: 'save'
  /** The checkpoint's name; absent of the model itself. */
  checkpoint?: string
}

/** A bad step that was left out, or from which the training went back to its last good state. */
export interface SkipEvent extends Common {
  event: 'skip'
  reason: SkipReport['reason']
  problem: string
  action: SkipReport['action']
  restored_step?: number
  rate_factor: number
}

/** The training ended with a checkpoint, to be resumed. */
export interface PauseEvent extends Common {
  event: 'pause'
  checkpoint: string
}

/** The training is complete, or was asked to end (`stopped`). */
export interface EndEvent extends Common {
  event: 'end'
  stopped: boolean
  training_loss: number
  metrics: Record<string, number>
  seconds_per_step: number
  tokens_per_second: number
  best_metric?: number
  best_step?: number
}

/** The training ended by an error, an interruption included. */
export interface ErrorEvent extends Common {
  event: 'error'
  /** The error's name, such as `AbortError` or `NonFiniteError`. */
  name: string
  message: string
}

/** One line of `metrics.jsonl`. */
export type RunEvent =
  | StartEvent
  | ResumeEvent
  | LogEvent
  | EvaluationEvent
  | SamplesEvent
  | SaveEvent
  | SkipEvent
  | PauseEvent
  | EndEvent
  | ErrorEvent

const now = () => new Date().toISOString()

/**
 * The same event for the same report of the Trainer, whoever asks: its time and memory are taken once, so that the file,
 * TensorBoard's events and the page agree.
 */
function once<Report extends object, Event>(make: (report: Report) => Event): (report: Report) => Event {
  const made = new WeakMap<Report, Event>()
  return report => {
    if (!made.has(report)) made.set(report, make(report))
    return made.get(report)!
  }
}

/** The event of a log. */
export const logEvent = once(
  (log: TrainingLog): LogEvent => ({ event: 'log', time: now(), ...log, memory_bytes: process.memoryUsage.rss() }),
)

/** The event of an evaluation. */
export const evaluationEvent = once(
  (log: EvaluationLog) => ({ event: 'evaluation', time: now(), ...log }) as EvaluationEvent,
)

/** The event of a saved model. */
export const saveEvent = once(({ step, folder }: { step: number; folder: string }): SaveEvent => {
  const name = basename(folder)
  return { event: 'save', time: now(), step, ...(/^checkpoint-\d+$/.test(name) && { checkpoint: name }) }
})

/** The event of a bad step. */
export const skipEvent = once(
  ({ step, reason, problem, action, restoredStep, rateFactor }: SkipReport): SkipEvent => ({
    event: 'skip',
    time: now(),
    step,
    reason,
    problem,
    action,
    ...(restoredStep !== undefined && { restored_step: restoredStep }),
    rate_factor: rateFactor,
  }),
)

/** The event of a pause that ends the process. */
export const pauseEvent = once(
  ({ step, folder }: { step: number; folder: string }): PauseEvent => ({
    event: 'pause',
    time: now(),
    step,
    checkpoint: basename(folder),
  }),
)

/** The event of the end; the history is what was recorded before. */
export const endEvent = once((result: TrainResult): EndEvent => {
  const { globalStep, stopped, trainingLoss, metrics, secondsPerStep, tokensPerSecond, bestMetric, bestStep } = result
  return {
    event: 'end',
    time: now(),
    step: globalStep,
    stopped,
    training_loss: trainingLoss,
    metrics,
    seconds_per_step: secondsPerStep,
    tokens_per_second: tokensPerSecond,
    ...(bestStep !== undefined && { best_metric: bestMetric, best_step: bestStep }),
  }
})

/** The event of an error. */
export const errorEvent = once(({ step, error }: { step: number; error: unknown }): ErrorEvent => {
  const { name, message } = error instanceof Error ? error : { name: 'Error', message: String(error) }
  return { event: 'error', time: now(), step, name, message }
})

/** The event of the beginning: a start, or a resumption where steps were finished before. */
export function beginEvent(
  { step, maxSteps }: Readonly<TrainerState>,
  { args }: Pick<TrainerControl, 'args'>,
  details: Readonly<Record<string, unknown>>,
): StartEvent | ResumeEvent {
  const common = { time: now(), step, max_steps: maxSteps, pid: process.pid, host: hostname() }
  if (step > 0) return { event: 'resume', ...common }
  const known = Object.entries({ ...args, ...details }).filter(([, value]) => value !== undefined)
  return { event: 'start', ...common, arguments: Object.fromEntries(known) }
}

/** An event as one line of JSON, which has no NaN and no infinity; as words they are not lost. */
export function toLine(event: RunEvent): string {
  const value = (_: string, value: unknown) =>
    typeof value === 'number' && !Number.isFinite(value) ? String(value) : value
  return `${JSON.stringify(event, value)}\n`
}

/** The events of a record that a process may have been killed over: lines that are no JSON are counted, from 1. */
export function salvageLines(text: string): { events: RunEvent[]; damaged: number[] } {
  const events: RunEvent[] = []
  const damaged: number[] = []
  for (const [i, line] of text.split('\n').entries()) {
    if (line === '') continue
    try {
      events.push(JSON.parse(line))
    } catch {
      damaged.push(i + 1)
    }
  }
  return { events, damaged }
}

/** The events of a file's text. A last line that is not complete is still being written, and left for later. */
export function parseLines(text: string, path: string): RunEvent[] {
  const lines = text.slice(0, text.lastIndexOf('\n') + 1).split('\n')
  return lines.flatMap((line, i) => {
    if (line === '') return []
    try {
      return [JSON.parse(line) as RunEvent]
    } catch (cause) {
      throw new Error(
        `${path}, line ${i + 1} is not JSON: ${(cause as Error).message}. Remove the line, or the file.`,
        {
          cause,
        },
      )
    }
  })
}
