/** @file `trainer_state.json`: where a training stands, in Transformers' terms and in ours. */
import type { AnomaliesState } from './anomalies.ts'
import type { TrainingArguments } from './arguments.ts'
import type { EvaluationLog, TrainerState, TrainingLog } from './callbacks.ts'

/** The sums that logs and the result are made of. */
export interface Tally {
  steps: number
  loss: number
  tokens: number
  /** Not part of what must be equal between runs. */
  seconds: number
}

/** A tally of nothing. */
export const emptyTally = (): Tally => ({ steps: 0, loss: 0, tokens: 0, seconds: 0 })

/** The tallies of a training: over all steps, over all but the first, and since the last log. */
export interface Tallies {
  total: Tally
  steady: Tally
  sinceLog: Tally
}

/** What only our own trainer reads. */
export interface OwnState {
  version: 1
  /** The pass over the data, and the steps of it that are done; 0 steps where its end was dealt with. */
  epoch_index: number
  step_in_epoch: number
  learning_rate: number
  grad_norm: number
  evaluated_step: number | null
  saved_step: number | null
  metrics: Record<string, number>
  stopping: boolean
  tallies: Record<keyof Tallies, Omit<Tally, 'seconds'>>
  optimizer_step: number
  /** What the hooks of parameters keep (AdaLoRA's importance and the like). */
  hooks: unknown[]
  anomalies: AnomaliesState
  /** The state that a backoff returns to, its vectors left out. */
  last_good: { step: number; optimizer_step: number; hooks: unknown[] } | null
}

/** The file. */
export interface TrainerStateFile {
  best_global_step: number | null
  best_metric: number | null
  best_model_checkpoint: string | null
  epoch: number
  eval_steps: number | null
  global_step: number
  log_history: (Omit<TrainingLog, 'tokens_per_second'> | EvaluationLog)[]
  logging_steps: number
  max_steps: number
  num_train_epochs: number
  stateful_callbacks: Record<string, unknown>
  train_batch_size: number
  peft_ts: OwnState
}

/** How long things took: not equal between runs, so it lies in a file of its own. */
export interface Timing {
  seconds: Record<keyof Tallies, number>
  /** Of each log in order. */
  tokens_per_second: number[]
}

/** The content of the file. */
export function stateFile(
  state: Readonly<TrainerState>,
  args: TrainingArguments,
  callbacks: Record<string, unknown>,
  own: OwnState,
): TrainerStateFile {
  return {
    best_global_step: state.bestStep ?? null,
    best_metric: state.bestMetric ?? null,
    best_model_checkpoint: state.bestStep === undefined ? null : `checkpoint-${state.bestStep}`,
    epoch: state.epoch,
    eval_steps: args.evalSteps ?? null,
    global_step: state.step,
    log_history: state.history.map(entry => {
      const { tokens_per_second: _, ...rest } = entry as TrainingLog
      return rest
    }),
    logging_steps: args.loggingSteps,
    max_steps: state.maxSteps,
    num_train_epochs: args.numTrainEpochs,
    stateful_callbacks: callbacks,
    train_batch_size: args.perDeviceTrainBatchSize,
    peft_ts: own,
  }
}

/** Sets `state` to what a file says. */
export function restoreState(state: TrainerState, file: TrainerStateFile, timing: Timing | undefined): void {
  const speeds = timing?.tokens_per_second.values()
  state.step = file.global_step
  state.epoch = file.epoch
  state.bestMetric = file.best_metric ?? undefined
  state.bestStep = file.best_global_step ?? undefined
  state.savedStep = file.peft_ts.saved_step ?? undefined
  state.history.length = 0
  for (const entry of file.log_history) {
    state.history.push(isLog(entry) ? { ...entry, tokens_per_second: speeds?.next().value ?? 0 } : entry)
  }
}

const isLog = (entry: object): entry is Omit<TrainingLog, 'tokens_per_second'> => 'learning_rate' in entry

/** The times of a training. */
export function timingOf(history: TrainerState['history'], tallies: Tallies): Timing {
  return {
    seconds: {
      total: tallies.total.seconds,
      steady: tallies.steady.seconds,
      sinceLog: tallies.sinceLog.seconds,
    },
    tokens_per_second: history.flatMap(entry => (isLog(entry) ? (entry as TrainingLog).tokens_per_second : [])),
  }
}

/** Tallies without their times. */
export function countsOf({ total, steady, sinceLog }: Tallies): OwnState['tallies'] {
  const counts = ({ steps, loss, tokens }: Tally) => ({ steps, loss, tokens })
  return { total: counts(total), steady: counts(steady), sinceLog: counts(sinceLog) }
}

/** Tallies of a checkpoint. */
export function talliesOf(counts: OwnState['tallies'], timing: Timing | undefined): Tallies {
  const tally = (name: keyof Tallies) => ({ ...counts[name], seconds: timing?.seconds[name] ?? 0 })
  return { total: tally('total'), steady: tally('steady'), sinceLog: tally('sinceLog') }
}
