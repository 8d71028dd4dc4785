/** @file Numbers, sizes and times as people read them. */

/** `1,234,567`. */
export function formatCount(value: number): string {
  return value.toLocaleString('en-US', { maximumFractionDigits: 0 })
}

/** `412 B`, `1.5 MB`: decimal units. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  let value = bytes
  let unit = 0
  while (value >= 999.95 && unit < units.length - 1) {
    value /= 1000
    unit++
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`
}

/** `0:42`, `12:05`, `3:07:09`. */
export function formatSeconds(seconds: number): string {
  if (!Number.isFinite(seconds)) return '-:--'
  const whole = Math.max(0, Math.round(seconds))
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60]
  const padded = String(rest).padStart(2, '0')
  return hours > 0 ? `${hours}:${String(minutes).padStart(2, '0')}:${padded}` : `${minutes}:${padded}`
}

/** A metric or loss with four digits after the point; very large and very small ones with an exponent. */
export function formatMetric(value: number): string {
  const size = Math.abs(value)
  return size !== 0 && (size >= 1e6 || size < 1e-4) ? value.toExponential(3) : value.toFixed(4)
}

/** Named metrics in one line: `loss 0.4321  accuracy 0.8000`. */
export function formatMetrics(metrics: Readonly<Record<string, number>>): string {
  return Object.entries(metrics)
    .map(([name, value]) => `${name.replace(/^(eval|test)_/, '')} ${formatMetric(value)}`)
    .join('  ')
}

/** A word of a command line, quoted where a shell needs it. */
export function shellQuote(word: string): string {
  return /^[\w./:=,@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
}
