/** @file One chart: lines of several runs, with values where the pointer is, zoom, and the same by keyboard. */
import uPlot from 'uplot'
import { element, setText } from './dom.js'
import { formatDuration } from './format.js'

/**
 * @import { Line } from './data.js'
 * @typedef {object} Drawn
 * @property {string} label
 * @property {number} color the number of the run's colour, from 1
 * @property {boolean} dashed an evaluation
 * @property {Line} line
 * @property {Line} [raw] what was smoothed, drawn faintly behind
 * @typedef {object} ChartOptions
 * @property {string} title
 * @property {string} [unit]
 * @property {boolean} isWide
 * @property {boolean} fromZero whether the vertical axis begins at 0
 * @property {(value: number) => string} format
 * @property {(range: [number, number] | undefined) => void} onZoom undefined for all there is
 * @property {(x: number | undefined) => void} onHover
 * @property {(text: string) => void} announce
 */

const [HEIGHT, WIDE_HEIGHT] = [180, 270]

/** A chart with its title and legend. */
export class Chart {
  /** @type {uPlot | undefined} */
  #plot
  /** @type {readonly Drawn[]} */
  #drawn = []
  #shape = ''
  /** @type {[number, number]} */
  #range = [0, 1]
  #isFollowing = false
  #at = element('span', { class: 'at' })
  #legend = element('ul', { class: 'legend' })
  #holder
  #options
  /** @type {'step' | 'time'} */
  #axis = 'step'
  #isLog = false
  /** @type {number | undefined} the place that is read by keyboard */
  #read

  /** @param {ChartOptions} options */
  constructor(options) {
    this.#options = options
    const { title, unit, isWide } = options
    this.#holder = element('div', {
      class: 'plot',
      tabindex: 0,
      role: 'group',
      'aria-label': `Chart: ${title}. Arrow keys read its values.`,
      'aria-describedby': 'chart-hint',
      onkeydown: (/** @type {KeyboardEvent} */ event) => this.#onKey(event),
      onblur: () => this.#readAt(undefined),
    })
    const heading = element('h3', {}, title, ...(unit ? [element('span', { class: 'muted' }, ` ${unit}`)] : []))
    this.root = element(
      'article',
      { class: isWide ? 'chart wide' : 'chart' },
      element('div', { class: 'chart-head' }, heading, this.#at),
      this.#legend,
      this.#holder,
    )
    new ResizeObserver(() => this.#plot?.setSize(this.#size())).observe(this.#holder)
  }

  /**
   * Draws.
   *
   * @param {readonly Drawn[]} drawn
   * @param {{ axis: 'step' | 'time', isLog: boolean, range: [number, number] }} how range: what is seen of the axis
   */
  draw(drawn, { axis, isLog, range }) {
    this.#drawn = drawn
    this.#axis = axis
    this.#isLog = isLog
    this.#range = range
    const theme = getComputedStyle(document.documentElement).getPropertyValue('--line')
    const shape = JSON.stringify([
      axis,
      isLog,
      theme,
      drawn.map(({ label, color, dashed, raw }) => [label, color, dashed, !!raw]),
    ])
    const data = this.#data()
    if (!this.#plot || shape !== this.#shape) {
      this.#shape = shape
      this.#plot?.destroy()
      this.#plot = new uPlot(this.#plotOptions(), data, this.#holder)
      this.#fillLegend()
    } else this.#plot.setData(data, false)
    this.#plot.setScale('x', { min: range[0], max: range[1] })
    this.#showValues(undefined)
  }

  /**
   * Shows the values at a place that is pointed at in another chart.
   *
   * @param {number | undefined} x
   */
  follow(x) {
    if (!this.#plot) return
    this.#isFollowing = true
    const left = x === undefined ? -10 : this.#plot.valToPos(x, 'x')
    this.#plot.setCursor({ left, top: x === undefined ? -10 : 0 })
    this.#isFollowing = false
  }

  destroy() {
    this.#plot?.destroy()
    this.root.remove()
  }

  /** All lines over all horizontal values; each run may be drawn twice: as it was, and smoothed. */
  #data() {
    const lines = this.#drawn.flatMap(({ line, raw }) => (raw ? [raw, line] : [line]))
    if (lines.length === 0) return /** @type {uPlot.AlignedData} */ ([[]])
    const joined = uPlot.join(lines.map(({ x, y }) => [x, y]))
    if (!this.#isLog) return joined
    // A logarithm has no place for what is not above 0.
    const [x, ...rest] = /** @type {[number[], ...(number | null | undefined)[][]]} */ (/** @type {unknown} */ (joined))
    const positive = rest.map(values => values.map(value => (value && value > 0 ? value : null)))
    return /** @type {uPlot.AlignedData} */ ([x, ...positive])
  }

  #size() {
    const height = this.#options.isWide ? WIDE_HEIGHT : HEIGHT
    return { width: Math.max(120, this.#holder.clientWidth), height }
  }

  /** @returns {uPlot.Options} */
  #plotOptions() {
    const style = getComputedStyle(document.documentElement)
    const color = (/** @type {string} */ name) => style.getPropertyValue(name).trim()
    const { format, fromZero } = this.#options
    const axis = {
      stroke: color('--muted'),
      font: '12px system-ui, sans-serif',
      grid: { stroke: color('--grid'), width: 1 },
      ticks: { show: false },
    }
    /** The places of a lonely value, and of evaluations as long as they are few. */
    const hasPoints = (/** @type {number} */ index) => {
      const { line, dashed } = this.#seriesAt(index)
      return line.x.length < (dashed ? 60 : 3)
    }
    const series = this.#drawn.flatMap(({ label, color: run, dashed, raw }) => {
      const stroke = color(`--run-${run}`)
      const main = {
        label,
        stroke,
        width: 2,
        dash: dashed ? [6, 4] : undefined,
        spanGaps: true,
        points: {
          show: (/** @type {uPlot} */ _, /** @type {number} */ index) => hasPoints(index),
          size: 6,
          fill: color('--surface'),
          stroke,
        },
      }
      const behind = { label, stroke: `${stroke}48`, width: 1, spanGaps: true, points: { show: false } }
      return raw ? [behind, main] : [main]
    })
    return {
      ...this.#size(),
      padding: [10, 16, 0, 0],
      legend: { show: false },
      cursor: {
        y: false,
        points: { size: 7, width: 2 },
        drag: { x: true, y: false, setScale: false },
        dataIdx: (plot, index, nearest) => nearestValue(plot.data[index], plot.data[0], nearest),
      },
      scales: {
        x: { time: false, auto: false },
        y: { distr: this.#isLog ? 3 : 1, range: this.#isLog ? undefined : (_, min, max) => padded(min, max, fromZero) },
      },
      series: [{}, ...series],
      axes: [
        {
          ...axis,
          space: 64,
          size: 30,
          values: (_, places) => places.map(place => this.#place(place)),
          incrs: this.#axis === 'step' ? STEPS : SECONDS,
        },
        {
          ...axis,
          space: 32,
          size: (_, texts) => 14 + 6.7 * Math.max(4, ...(texts ?? []).map(text => text?.length ?? 0)),
          values: (_, values) => shortened(values, format),
        },
      ],
      hooks: {
        setCursor: [plot => this.#onCursor(plot)],
        setSelect: [plot => this.#onSelect(plot)],
        ready: [plot => plot.over.addEventListener('dblclick', () => this.#options.onZoom(undefined))],
      },
    }
  }

  /**
   * What is drawn as a series of the plot, counted from 1; the one that was smoothed stands before what it became.
   *
   * @param {number} index
   */
  #seriesAt(index) {
    return this.#drawn.flatMap(drawn => (drawn.raw ? [drawn, drawn] : [drawn]))[index - 1]
  }

  /** @param {number} x */
  #place(x) {
    return this.#axis === 'step' ? String(x) : formatDuration(x)
  }

  /** @param {uPlot} plot */
  #onCursor(plot) {
    const { left = -10, idx } = plot.cursor
    const isInside = left >= 0 && idx !== null && idx !== undefined
    this.#showValues(isInside ? idx : undefined)
    if (!this.#isFollowing) this.#options.onHover(isInside ? plot.posToVal(left, 'x') : undefined)
  }

  /** @param {uPlot} plot */
  #onSelect(plot) {
    const { left, width } = plot.select
    if (width < 4) return
    const range = /** @type {[number, number]} */ ([plot.posToVal(left, 'x'), plot.posToVal(left + width, 'x')])
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false)
    this.#options.onZoom(range)
  }

  #fillLegend() {
    this.#legend.replaceChildren(
      ...this.#drawn.map(({ label, color, dashed }) =>
        element(
          'li',
          {},
          element('span', { class: dashed ? 'swatch dashed' : 'swatch', 'data-run': color, 'aria-hidden': 'true' }),
          element('span', { class: label === this.#options.title ? 'hidden-label' : 'name', title: label }, label),
          element('span', { class: 'value' }),
        ),
      ),
    )
  }

  /**
   * The values at a place, or the last ones.
   *
   * @param {number | undefined} index
   */
  #showValues(index) {
    const plot = this.#plot
    if (!plot) return
    const xs = plot.data[0]
    setText(this.#at, index === undefined ? 'latest' : this.#where(xs[index]))
    const { format } = this.#options
    for (const [i, item] of [...this.#legend.children].entries()) {
      const value = index === undefined ? this.#lastOf(i) : this.#valueOf(i, index)
      const target = /** @type {HTMLElement} */ (item.lastElementChild)
      setText(target, value === undefined ? '–' : format(value))
    }
  }

  /** @param {number} x */
  #where(x) {
    return this.#axis === 'step' ? `step ${x}` : formatDuration(x)
  }

  /** @param {number} i */
  #lastOf(i) {
    const { raw, line } = this.#drawn[i]
    return (raw ?? line).y.at(-1)
  }

  /**
   * The value of a line that is nearest to a place; undefined beside the line.
   *
   * @param {number} i
   * @param {number} index
   */
  #valueOf(i, index) {
    const before = this.#drawn.slice(0, i).reduce((sum, { raw }) => sum + (raw ? 2 : 1), 0)
    // What was measured, and not what was smoothed.
    const values = this.#plot?.data[before + 1]
    const { x } = this.#drawn[i].line
    const place = this.#plot?.data[0][index]
    if (!values || place === undefined || place < x[0] || place > x[x.length - 1]) return undefined
    return values[nearestValue(values, this.#plot?.data[0] ?? [], index)] ?? undefined
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const plot = this.#plot
    const xs = plot?.data[0]
    if (!plot || !xs?.length || event.ctrlKey || event.metaKey || event.altKey) return
    const [min, max] = this.#range
    const first = Math.max(
      0,
      xs.findIndex(x => x >= min),
    )
    let last = xs.length - 1
    while (last > first && xs[last] > max) last--
    const here = Math.min(last, Math.max(first, this.#read ?? last))
    const size = event.shiftKey ? 10 : 1
    const places = /** @type {Record<string, number>} */ ({
      ArrowLeft: here - (this.#read === undefined ? 0 : size),
      ArrowRight: here + (this.#read === undefined ? 0 : size),
      Home: first,
      End: last,
    })
    if (event.key in places) this.#readAt(Math.min(last, Math.max(first, places[event.key])))
    else if (event.key === '+' || event.key === '=' || event.key === '-' || event.key === '−') {
      const half = ((max - min) / 2) * (event.key === '+' || event.key === '=' ? 0.5 : 2)
      const [low, high] = [Math.max(xs[0], xs[here] - half), Math.min(xs[xs.length - 1], xs[here] + half)]
      if (high > low) this.#options.onZoom(low <= xs[0] && high >= xs[xs.length - 1] ? undefined : [low, high])
    } else if (event.key === '0' || event.key === 'Escape') this.#options.onZoom(undefined)
    else return
    event.preventDefault()
  }

  /** @param {number | undefined} index */
  #readAt(index) {
    this.#read = index
    const x = index === undefined ? undefined : this.#plot?.data[0][index]
    this.follow(x)
    this.#options.onHover(x)
    if (index === undefined || x === undefined) return
    const { format } = this.#options
    const values = this.#drawn.map(({ label }, i) => {
      const value = this.#valueOf(i, index)
      return `${label} ${value === undefined ? 'no value' : format(value)}`
    })
    this.#options.announce(`${this.#where(x)}: ${values.join(', ')}`)
  }
}

/** Distances between marks on an axis of steps: whole ones. */
const STEPS = [1, 2, 5]
  .flatMap(base => Array.from({ length: 8 }, (_, power) => base * 10 ** power))
  .sort((a, b) => a - b)

/** Distances between marks on an axis of time. */
const SECONDS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800]

/**
 * The index of the value that is nearest to a place among those that are there.
 *
 * @param {ArrayLike<number | null | undefined>} values
 * @param {ArrayLike<number>} xs
 * @param {number} index
 */
function nearestValue(values, xs, index) {
  const isThere = (/** @type {number} */ i) => values[i] !== null && values[i] !== undefined
  let [low, high] = [index, index]
  while (low >= 0 && !isThere(low)) low--
  while (high < values.length && !isThere(high)) high++
  if (low < 0) return high < values.length ? high : index
  if (high >= values.length) return low
  return xs[index] - xs[low] <= xs[high] - xs[index] ? low : high
}

/**
 * A range with some air; a line that does not change lies in its middle.
 *
 * @param {number | null} min
 * @param {number | null} max
 * @param {boolean} fromZero
 * @returns {[number, number]}
 */
function padded(min, max, fromZero) {
  if (min === null || max === null) return [0, 1]
  if (fromZero) return [0, max * 1.15 || 1]
  const air = max > min ? (max - min) * 0.08 : Math.abs(max) * 0.1 || 1
  return [min >= 0 ? Math.max(0, min - air) : min - air, max + air]
}

/**
 * Values of an axis, as short as they can be told apart.
 *
 * @param {readonly (number | null)[]} values
 * @param {(value: number) => string} format
 */
function shortened(values, format) {
  const texts = values.map(value => (value === null ? '' : value === 0 ? '0' : format(value)))
  const isPlain = texts.every(text => /^-?\d*\.?\d*$/.test(text))
  if (isPlain) {
    const needed = Math.max(...texts.map(text => text.replace(/\.?0+$/, '').split('.')[1]?.length ?? 0))
    return values.map(value => (value === null ? '' : value.toFixed(needed)))
  }
  return texts.map(text => text.replace(/\.0+(?=\D|$)|(\.\d*?)0+(?=\D|$)/, '$1').replace(/e\+0$/, ''))
}
