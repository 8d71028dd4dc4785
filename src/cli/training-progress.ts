/** @file What a training shows while it runs: a bar on terminals, a line now and then elsewhere, events with `--json`. */
import type { TrainerCallback, TrainResult } from '../training/index.ts'
import { formatBytes, formatCount, formatMetric, formatMetrics, formatSeconds } from './format.ts'
import type { Output } from './output.ts'
import { type Progress, startProgress } from './progress.ts'

/** The callbacks of a training, and what removes the bar however the training ends. */
export interface TrainingProgress {
  callback: TrainerCallback<TrainResult>
  stop(): void
}

/** Shows a training on `output`. */
export function showTraining(output: Output): TrainingProgress {
  let bar: Progress | undefined
  let maxSteps = 0
  let [started, timedSteps] = [0, 0]
  const { bold, green } = output.noteStyle

  /** Seconds to the end; the first step, which compiles, does not count where there are others. */
  const secondsLeft = (step: number) => {
    const elapsed = (performance.now() - started) / 1000
    return timedSteps === 0 ? Number.POSITIVE_INFINITY : (elapsed / timedSteps) * (maxSteps - step)
  }

  const callback: TrainerCallback<TrainResult> = {
    onTrainBegin: state => {
      maxSteps = state.maxSteps
      bar = startProgress(output, { total: maxSteps, unit: 'steps' })
      output.event('start', { max_steps: maxSteps })
    },
    onActivationsKept: ({ where, bytes, examples, saved, seconds }) => {
      const line =
        `kept what frozen layers compute of ${examples} examples: ${formatBytes(bytes)} ${where === 'disk' ? 'on disk' : 'in memory'}, ` +
        `${formatSeconds(seconds)}; about ${Math.round(100 * saved)} % of all operations need not be computed`
      output.event('activations', { where, bytes, examples, saved, seconds }, line)
    },
    onResume: ({ step, folder }) => {
      output.event('resume', { step, checkpoint: folder }, `going on from ${folder}, after step ${step}/${maxSteps}`)
    },
    onSkip: ({ step, problem, action, restoredStep, rateFactor, inARow }) => {
      const done =
        action === 'skip'
          ? 'skipped'
          : `back to the values after step ${restoredStep ?? 0}, learning rates times ${rateFactor} from now on`
      const bad = { step, problem, action, rate_factor: rateFactor, in_a_row: inARow }
      output.event('bad_step', bad, `step ${step}/${maxSteps}  ${problem}: ${done}`)
    },
    onStepEnd: ({ step, loss, tokens, seconds }) => {
      if (started === 0) started = performance.now()
      else timedSteps++
      const speed = tokens > 0 ? `  ${formatCount(tokens / seconds)} tokens/s` : ''
      bar?.update(step, `loss ${formatMetric(loss)}${speed}  ${formatSeconds(secondsLeft(step))} left`)
    },
    onLog: log => {
      const left = secondsLeft(log.step)
      const line =
        `step ${log.step}/${maxSteps}  loss ${formatMetric(log.loss)}  lr ${log.learning_rate.toPrecision(3)}  ` +
        // Images have no tokens.
        `${log.tokens_per_second ? `${formatCount(log.tokens_per_second)} tokens/s  ` : ''}${formatSeconds(left)} left`
      const data = { ...log, max_steps: maxSteps, ...(Number.isFinite(left) && { seconds_left: left }) }
      // On a terminal the bar says it already.
      output.event('log', data, output.hasTerminal ? undefined : line)
    },
    onEvaluate: ({ step, epoch, ...metrics }) => {
      const line = `${bold(`step ${step}/${maxSteps}`)}  ${green('evaluation')}  ${formatMetrics(metrics)}`
      output.event('evaluation', { step, epoch, ...metrics }, line)
    },
  }
  return { callback, stop: () => bar?.stop() }
}
