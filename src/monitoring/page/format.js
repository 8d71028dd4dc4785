/** @file Numbers, sizes and times as people read them. */

/**
 * A metric: four digits behind the point, very large and very small ones with an exponent.
 *
 * @param {number} value
 */
export function formatMetric(value) {
  const size = Math.abs(value)
  return size !== 0 && (size >= 1e6 || size < 1e-3) ? value.toExponential(3) : value.toFixed(4)
}

/** @param {number} value */
export const formatCount = value => value.toLocaleString('en-US', { maximumFractionDigits: value < 10 ? 1 : 0 })

/** @param {number} bytes */
export function formatBytes(bytes) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  let [value, unit] = [bytes, 0]
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000
    unit++
  }
  return `${unit < 3 ? Math.round(value) : value.toFixed(2)} ${units[unit]}`
}

/**
 * `42 s`, `12 min 5 s`, `3 h 7 min`.
 *
 * @param {number} seconds
 */
export function formatDuration(seconds) {
  const whole = Math.max(0, Math.round(seconds))
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  return `${Math.floor(whole / 3600)} h ${Math.floor(whole / 60) % 60} min`
}

/**
 * A time of day, with the date where it was another day.
 *
 * @param {string} iso
 */
export function formatTime(iso) {
  const date = new Date(iso)
  const time = date.toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit' })
  const isToday = date.toDateString() === new Date().toDateString()
  return isToday ? time : `${date.toLocaleDateString('en-GB', { day: 'numeric', month: 'short' })}, ${time}`
}

/** Titles of measurements, and how their values are written. */
const MEASURES = /** @type {Record<string, { title: string, format: (value: number) => string, unit?: string }>} */ ({
  loss: { title: 'Loss', format: formatMetric },
  learning_rate: { title: 'Learning rate', format: value => (value === 0 ? '0' : value.toExponential(2)) },
  grad_norm: { title: 'Gradient norm', format: formatMetric },
  tokens_per_second: { title: 'Throughput', format: formatCount, unit: 'tokens/s' },
  memory_bytes: { title: 'Memory', format: formatBytes },
  epoch: { title: 'Epoch', format: value => value.toFixed(2) },
})

/**
 * How a measurement is called and written; `eval_f1` is `Evaluation F1`.
 *
 * @param {string} name
 */
export function measureOf(name) {
  if (MEASURES[name]) return MEASURES[name]
  const words = name.replace(/^eval_/, '').replaceAll('_', ' ')
  const title = words.length <= 3 ? words.toUpperCase() : words[0].toUpperCase() + words.slice(1)
  return {
    title: name.startsWith('eval_') ? `Evaluation ${title.length <= 3 ? title : title.toLowerCase()}` : title,
    format: formatMetric,
    unit: undefined,
  }
}
