/** @file The picture of a comparison: score against the number of trained parameters, as SVG. */
import { scaleLinear, scaleLog } from 'd3-scale'
import { type MethodResult, paretoFront } from './result.ts'

/** A point with its label. */
type Point = Pick<MethodResult, 'method' | 'score' | 'trainableParameters'>

const WIDTH = 860
const HEIGHT = 460
const MARGIN = { top: 16, right: 28, bottom: 52, left: 64 }
const RADIUS = 5
const LETTER = 6.6
const LINE = 14

/** Text as it may stand in HTML and SVG. */
export function escapeHtml(text: string): string {
  const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }
  return text.replace(/[&<>"']/g, character => entities[character])
}

/** `1.2 M`, `34 k`, `5`. */
export function shortCount(value: number): string {
  for (const [size, unit] of [
    [1e9, ' G'],
    [1e6, ' M'],
    [1e3, ' k'],
  ] as const) {
    if (value >= size) return `${Number((value / size).toPrecision(3))}${unit}`
  }
  return String(value)
}

interface Box {
  x: number
  y: number
  width: number
  height: number
}

const overlap = (a: Box, b: Box) =>
  Math.max(0, Math.min(a.x + a.width, b.x + b.width) - Math.max(a.x, b.x)) *
  Math.max(0, Math.min(a.y + a.height, b.y + b.height) - Math.max(a.y, b.y))

/** Where each label stands: of eight places around its point the one that covers least of what is there already. */
function placeLabels(points: readonly { x: number; y: number; text: string }[]): Box[] {
  const taken: Box[] = points.map(({ x, y }) => ({
    x: x - RADIUS,
    y: y - RADIUS,
    width: 2 * RADIUS,
    height: 2 * RADIUS,
  }))
  const inside: Box = {
    x: MARGIN.left,
    y: MARGIN.top,
    width: WIDTH - MARGIN.left - 4,
    height: HEIGHT - MARGIN.bottom - MARGIN.top,
  }
  return points.map(({ x, y, text }) => {
    const [width, height] = [text.length * LETTER, LINE]
    const gap = RADIUS + 3
    const candidates = [
      [x + gap, y - height / 2],
      [x - gap - width, y - height / 2],
      [x - width / 2, y - gap - height],
      [x - width / 2, y + gap],
      [x + gap, y - height - 2],
      [x + gap, y + 2],
      [x - gap - width, y - height - 2],
      [x - gap - width, y + 2],
    ].map(([left, top]): Box => ({ x: left, y: top, width, height }))
    const cost = (box: Box) =>
      taken.reduce((sum, other) => sum + overlap(box, other), 0) + 3 * (box.width * box.height - overlap(box, inside))
    const best = candidates.reduce((a, b) => (cost(b) < cost(a) ? b : a))
    taken.push(best)
    return best
  })
}

/**
 * The picture: one point a method, trained parameters on a logarithmic axis, the Pareto front joined by a line, the
 * score of chance as a dashed line. Colours come from the page's style (`.point`, `.front`, `.axis`, `.chance`).
 */
export function scatterPlot(results: readonly Point[], measure: string, chance: number): string {
  if (results.length === 0) return ''
  const counts = results.map(({ trainableParameters }) => Math.max(1, trainableParameters))
  const scores = results.map(({ score }) => score)
  const x = scaleLog()
    .domain([Math.min(...counts) / 1.6, Math.max(...counts) * 1.6])
    .range([MARGIN.left, WIDTH - MARGIN.right])
  const [worst, best] = [Math.min(...scores), Math.max(...scores)]
  // Far below all methods, knowing nothing would only take the place of the differences between them.
  const showsChance = chance > 0 && chance > worst - 0.6 * (best - worst)
  const lowest = showsChance ? Math.min(worst, chance) : worst
  const spread = Math.max(best - lowest, 0.02)
  const y = scaleLinear()
    .domain([Math.max(0, lowest - 0.06 * spread), Math.min(1, best + 0.06 * spread)])
    .range([HEIGHT - MARGIN.bottom, MARGIN.top])
  const points = results.map(({ method, score, trainableParameters }) => ({
    text: method,
    x: x(Math.max(1, trainableParameters)),
    y: y(score),
  }))
  const front = paretoFront(results)
  const at = (value: number) => value.toFixed(1)
  const xTicks = x.ticks(6).filter(tick => Number.isInteger(Math.log10(tick)))
  const parts = [
    ...xTicks.map(
      tick =>
        `<line class="grid" x1="${at(x(tick))}" x2="${at(x(tick))}" y1="${MARGIN.top}" y2="${HEIGHT - MARGIN.bottom}"/>` +
        `<text class="tick" x="${at(x(tick))}" y="${HEIGHT - MARGIN.bottom + 18}" text-anchor="middle">${shortCount(tick)}</text>`,
    ),
    ...y
      .ticks(6)
      .map(
        tick =>
          `<line class="grid" x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${at(y(tick))}" y2="${at(y(tick))}"/>` +
          `<text class="tick" x="${MARGIN.left - 8}" y="${at(y(tick) + 4)}" text-anchor="end">${y.tickFormat(6)(tick)}</text>`,
      ),
    `<text class="label" x="${WIDTH / 2}" y="${HEIGHT - 10}" text-anchor="middle">trained parameters (logarithmic)</text>`,
    `<text class="label" transform="translate(16 ${HEIGHT / 2}) rotate(-90)" text-anchor="middle">${escapeHtml(measure)}</text>`,
  ]
  if (showsChance) {
    parts.push(
      `<line class="chance" x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${at(y(chance))}" y2="${at(y(chance))}"/>`,
      `<text class="tick" x="${WIDTH - MARGIN.right - 4}" y="${at(y(chance) - 5)}" text-anchor="end">knowing nothing</text>`,
    )
  }
  const joined = front.map(method => points[results.findIndex(result => result.method === method)])
  parts.push(`<polyline class="front" points="${joined.map(point => `${at(point.x)},${at(point.y)}`).join(' ')}"/>`)
  const labels = placeLabels(points)
  for (const [i, { method, score, trainableParameters }] of results.entries()) {
    const { x: left, y: top } = points[i]
    const title = `${method}: ${score.toFixed(4)}, ${trainableParameters.toLocaleString('en-US')} parameters`
    parts.push(
      `<g class="${front.includes(method) ? 'point best' : 'point'}"><title>${escapeHtml(title)}</title>` +
        `<circle cx="${at(left)}" cy="${at(top)}" r="${RADIUS}"/>` +
        `<text x="${at(labels[i].x)}" y="${at(labels[i].y + LINE - 3)}" textLength="${at(labels[i].width - 2)}" lengthAdjust="spacingAndGlyphs">${escapeHtml(method)}</text></g>`,
    )
  }
  return `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escapeHtml(measure)} against trained parameters">${parts.join('')}</svg>`
}
