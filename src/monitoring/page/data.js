/** @file From recorded events to lines of a chart, rows of a table and how a run stands. */

/**
 * @import { EvaluationEvent, LogEvent, ResumeEvent, RunEvent, StartEvent } from '../events.ts'
 * @typedef {{ x: number[], y: number[] }} Line the horizontal values rise
 */

/** What logs and evaluations hold that is no measurement. */
const NOT_MEASURED = ['event', 'time', 'step', 'epoch']

/** Measurements of the training that have charts of their own, in this order behind that of the loss. */
const TRAINING_MEASURES = ['learning_rate', 'grad_norm', 'tokens_per_second', 'memory_bytes']

/**
 * The logs and evaluations.
 *
 * @param {readonly RunEvent[]} events
 */
export function measured(events) {
  return /** @type {(LogEvent | EvaluationEvent)[]} */ (
    events.filter(({ event }) => event === 'log' || event === 'evaluation')
  )
}

/**
 * Each measurement as a line over steps, or over seconds since the beginning. What is not finite is a gap.
 *
 * @param {readonly RunEvent[]} events
 * @param {'step' | 'time'} axis
 * @returns {Map<string, Line>}
 */
export function linesOf(events, axis) {
  /** @type {Map<string, Line>} */
  const lines = new Map()
  const began = events.length ? Date.parse(events[0].time) : 0
  for (const record of measured(events)) {
    const x = axis === 'step' ? record.step : (Date.parse(record.time) - began) / 1000
    for (const [name, value] of Object.entries(record)) {
      if (NOT_MEASURED.includes(name) || typeof value !== 'number') continue
      const line = lines.get(name) ?? { x: [], y: [] }
      lines.set(name, line)
      // Two measurements at one place: the later one counts.
      if (line.x.at(-1) === x) {
        line.x.pop()
        line.y.pop()
      }
      line.x.push(x)
      line.y.push(value)
    }
  }
  return lines
}

/**
 * The charts of several runs: each a title's measurement with all that is drawn in it.
 *
 * @param {Iterable<string>} names all measurements of all runs
 * @returns {string[][]}
 */
export function chartsOf(names) {
  const known = new Set(names)
  const others = [...known].filter(name => name.startsWith('eval_') && name !== 'eval_loss').sort()
  return [['loss', 'eval_loss'], ...others.map(name => [name]), ...TRAINING_MEASURES.map(name => [name])]
    .map(chart => chart.filter(name => known.has(name)))
    .filter(chart => chart.length > 0)
}

/**
 * Exponentially smoothed values; the first ones are not drawn towards zero.
 *
 * @param {readonly number[]} values
 * @param {number} weight of what came before, from 0 to below 1
 */
export function smoothed(values, weight) {
  let [sum, total] = [0, 0]
  return values.map(value => {
    sum = weight * sum + (1 - weight) * value
    total = weight * total + (1 - weight)
    return sum / total
  })
}

/**
 * The last value of a measurement.
 *
 * @param {readonly RunEvent[]} events
 * @param {string} name
 * @returns {number | undefined}
 */
export function latest(events, name) {
  for (let i = events.length - 1; i >= 0; i--) {
    const value = /** @type {Record<string, unknown>} */ (/** @type {unknown} */ (events[i]))[name]
    if ((events[i].event === 'log' || events[i].event === 'evaluation') && typeof value === 'number') return value
  }
  return undefined
}

/**
 * Rows of a table, the latest first: one a step, with what was logged and evaluated there.
 *
 * @param {readonly RunEvent[]} events
 * @returns {{ columns: string[], rows: Record<string, number>[] }}
 */
export function tableOf(events) {
  /** @type {Map<number, Record<string, number>>} */
  const rows = new Map()
  const columns = new Set(['step', 'epoch'])
  for (const { event, time, ...values } of measured(events)) {
    const row = rows.get(values.step) ?? {}
    rows.set(values.step, Object.assign(row, values))
    for (const name of Object.keys(values)) columns.add(name)
  }
  return { columns: [...columns], rows: [...rows.values()].reverse() }
}

/**
 * Seconds to the end by the pace since the process began, without its first log, which compiling is part of; undefined
 * where that cannot be said yet.
 *
 * @param {readonly RunEvent[]} events
 * @param {number} step where the training is now
 * @param {number} maxSteps
 */
export function secondsLeft(events, step, maxSteps) {
  const began = events.findLastIndex(({ event }) => event === 'start' || event === 'resume')
  const logs = events.slice(began + 1).filter(({ event }) => event === 'log')
  if (logs.length < 2) return undefined
  const [first, last] = [logs[0], logs[logs.length - 1]]
  const pace = (Date.parse(last.time) - Date.parse(first.time)) / 1000 / (last.step - first.step)
  return Number.isFinite(pace) ? pace * Math.max(0, maxSteps - step) : undefined
}

/**
 * The beginning of the process that trains, or trained last.
 *
 * @param {readonly RunEvent[]} events
 */
export function beginning(events) {
  return /** @type {StartEvent | ResumeEvent | undefined} */ (
    events.findLast(({ event }) => event === 'start' || event === 'resume')
  )
}

/**
 * The resolved arguments of a run.
 *
 * @param {readonly RunEvent[]} events
 * @returns {Record<string, unknown>}
 */
export function argumentsOf(events) {
  const start = /** @type {StartEvent | undefined} */ (events.find(({ event }) => event === 'start'))
  return start?.arguments ?? {}
}

/** Words times words that are compared at most; of longer texts nothing is marked. */
const COMPARED = 250_000

/**
 * The words of a text, each with whether it stood in the text before: by the longest common sequence of words.
 *
 * @param {string} before
 * @param {string} text
 * @returns {{ text: string, isNew: boolean }[]}
 */
export function changes(before, text) {
  const [old, now] = [before, text].map(words => words.match(/\s*\S+|\s+$/g) ?? [])
  if (old.length * now.length > COMPARED) return [{ text, isNew: false }]
  const common = Array.from({ length: old.length + 1 }, () => new Uint16Array(now.length + 1))
  for (let i = old.length - 1; i >= 0; i--) {
    for (let j = now.length - 1; j >= 0; j--) {
      common[i][j] = old[i] === now[j] ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1])
    }
  }
  let i = 0
  return now.map((word, j) => {
    while (i < old.length && old[i] !== word && common[i + 1][j] >= common[i][j + 1]) i++
    const isOld = i < old.length && old[i] === word
    if (isOld) i++
    return { text: word, isNew: !isOld }
  })
}
