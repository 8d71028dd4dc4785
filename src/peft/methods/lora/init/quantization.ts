/** @file Weights of few bits, simulated: what is left of a weight once it was stored in them. */

/** The 16 values of NF4 (arXiv 2305.14314): quantiles of the normal distribution, scaled to [-1, 1]. */
const NF4 = [
  -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
  -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
  0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
]

/** How many values in a row share a scale in NF4. */
const BLOCK = 64

/** The values as NF4 keeps them: in blocks of 64, each by its largest magnitude. */
export function throughNF4(data: Float32Array): Float32Array {
  const result = new Float32Array(data.length)
  for (let begin = 0; begin < data.length; begin += BLOCK) {
    const block = data.subarray(begin, begin + BLOCK)
    const scale = largestMagnitude(block)
    if (scale === 0) continue
    for (let i = 0; i < block.length; i++) result[begin + i] = nearest(block[i] / scale) * scale
  }
  return result
}

/** The values as int8 keeps them: each row by its largest magnitude. */
export function throughInt8(data: Float32Array, columns: number): Float32Array {
  const result = new Float32Array(data.length)
  for (let begin = 0; begin < data.length; begin += columns) {
    const row = data.subarray(begin, begin + columns)
    const scale = largestMagnitude(row) / 127
    if (scale === 0) continue
    for (let i = 0; i < columns; i++) result[begin + i] = roundHalfToEven(row[i] / scale) * scale
  }
  return result
}

const largestMagnitude = (values: Float32Array) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0)

function nearest(value: number): number {
  let best = NF4[0]
  for (const candidate of NF4) if (Math.abs(candidate - value) < Math.abs(best - value)) best = candidate
  return best
}

function roundHalfToEven(value: number): number {
  const floor = Math.floor(value)
  const rest = value - floor
  if (rest !== 0.5) return Math.round(value)
  return floor % 2 === 0 ? floor : floor + 1
}
