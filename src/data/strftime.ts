/** @file Dates as Python's `strftime` writes them in its C locale, in English whatever the machine speaks. */

const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday']
const MONTHS = [
  'January',
  'February',
  'March',
  'April',
  'May',
  'June',
  'July',
  'August',
  'September',
  'October',
  'November',
  'December',
]
const DAY = 86_400_000

const two = (value: number) => String(value).padStart(2, '0')
const dayOfYear = (date: Date) =>
  Math.round((Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) - Date.UTC(date.getFullYear(), 0, 0)) / DAY)
/** The week of the year, weeks beginning on `first` (0 Sunday, 1 Monday); days before the first such day are in week 0. */
const week = (date: Date, first: number) => Math.floor((dayOfYear(date) + 6 - ((date.getDay() - first + 7) % 7)) / 7)

const CODES: Readonly<Record<string, (date: Date) => string>> = {
  a: date => DAYS[date.getDay()].slice(0, 3),
  A: date => DAYS[date.getDay()],
  b: date => MONTHS[date.getMonth()].slice(0, 3),
  h: date => MONTHS[date.getMonth()].slice(0, 3),
  B: date => MONTHS[date.getMonth()],
  c: date => strftime(date, '%a %b %e %H:%M:%S %Y'),
  C: date => two(Math.floor(date.getFullYear() / 100)),
  d: date => two(date.getDate()),
  D: date => strftime(date, '%m/%d/%y'),
  e: date => String(date.getDate()).padStart(2),
  f: date => String(date.getMilliseconds() * 1000).padStart(6, '0'),
  F: date => strftime(date, '%Y-%m-%d'),
  H: date => two(date.getHours()),
  I: date => two(date.getHours() % 12 || 12),
  j: date => String(dayOfYear(date)).padStart(3, '0'),
  m: date => two(date.getMonth() + 1),
  M: date => two(date.getMinutes()),
  n: () => '\n',
  p: date => (date.getHours() < 12 ? 'AM' : 'PM'),
  R: date => strftime(date, '%H:%M'),
  s: date => String(Math.floor(date.getTime() / 1000)),
  S: date => two(date.getSeconds()),
  t: () => '\t',
  T: date => strftime(date, '%H:%M:%S'),
  u: date => String(date.getDay() || 7),
  U: date => two(week(date, 0)),
  w: date => String(date.getDay()),
  W: date => two(week(date, 1)),
  x: date => strftime(date, '%m/%d/%y'),
  X: date => strftime(date, '%H:%M:%S'),
  y: date => two(date.getFullYear() % 100),
  Y: date => String(date.getFullYear()),
  // Of a time without a zone, as templates get it, Python writes none.
  z: () => '',
  Z: () => '',
  '%': () => '%',
}

/**
 * A date in local time by Python's codes (`%d %B %Y`). A `-` after the percent sign leaves padding away (`%-d`), as the C
 * library of Linux does. Codes that are not known stay as they are.
 */
export function strftime(date: Date, format: string): string {
  return format.replace(/%(-?)([a-zA-Z%])/g, (whole, bare, code) => {
    const text = CODES[code]?.(date)
    if (text === undefined) return whole
    return bare ? text.replace(/^[0 ]+(?=.)/, '') : text
  })
}
