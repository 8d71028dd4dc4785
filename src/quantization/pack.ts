/** @file Quantising: float32 values into packed ones, block by block. */
import { fromFloat32 } from '../weights/index.ts'
import { CODEBOOKS, dynamicMap, type NearestCells, NearestEntry } from './codebook.ts'
import { HALF_DTYPES, hasCodebook, isHalf, type QuantizedLayout, sizesOf } from './layout.ts'

/** The parts of a quantised matrix, or of some of its whole blocks. */
export interface PackedParts {
  packed: Uint8Array
  scales: Float32Array
  /** Empty where the layout has none. */
  zeroPoints: Uint8Array
}

/** How {@link packValues} chooses scales. */
export interface PackOptions {
  /** One scale a row instead of one a block, as LLM.int8() has it; the values then must be whole rows. */
  perRow?: boolean
}

const nearest = { nf4: new NearestEntry(CODEBOOKS.nf4).cells(), fp4: new NearestEntry(CODEBOOKS.fp4).cells() }

/** Empty parts for so many values of a layout. */
export function emptyParts(layout: QuantizedLayout, count = layout.rows * layout.columns): PackedParts {
  const { packedBytes, blocks, zeroPointBytes } = sizesOf({ ...layout, rows: 1, columns: count })
  return {
    packed: new Uint8Array(packedBytes),
    scales: new Float32Array(blocks),
    zeroPoints: new Uint8Array(zeroPointBytes),
  }
}

/**
 * Quantises neighbouring values, whole blocks of a layout (int4: an even number of them).
 *
 * - int8: the block's largest magnitude becomes 127 (63 in a layout that is turned); the error of a value is at most half
 *   a scale.
 * - int4: symmetric, the value of largest magnitude becomes -8, so that the error is at most half a scale, and at most one
 *   at the other end; otherwise the block's range, widened to hold zero, is cut into 15 steps.
 * - nf4, fp4: the nearest entry of the table, after division by the block's largest magnitude.
 * - bfloat16, float16: rounded to nearest, ties to even.
 *
 * A block with NaN or infinity gets a scale that is not finite.
 */
export function packValues(values: Float32Array, layout: QuantizedLayout, options: PackOptions = {}): PackedParts {
  const parts = emptyParts(layout, values.length)
  if (isHalf(layout.scheme)) return { ...parts, packed: fromFloat32(HALF_DTYPES[layout.scheme], values) }
  if (hasCodebook(layout.scheme)) packCodes(values, layout, nearest[layout.scheme], parts)
  else if (layout.scheme === 'int8') packInt8(values, layout, options.perRow ? layout.columns : layout.blockSize, parts)
  else if (layout.symmetric) packInt4(values, layout, parts)
  else packInt4Asymmetric(values, layout, parts)
  return parts
}

function largestMagnitude(values: Float32Array, start: number, end: number): number {
  let [a, b] = [0, 0]
  for (let i = start; i < end - 1; i += 2) {
    a = Math.max(a, Math.abs(values[i]))
    b = Math.max(b, Math.abs(values[i + 1]))
  }
  if ((end - start) & 1) a = Math.max(a, Math.abs(values[end - 1]))
  return Math.max(a, b)
}

function packInt8(
  values: Float32Array,
  { blockSize, turned }: QuantizedLayout,
  group: number,
  { packed, scales }: PackedParts,
): void {
  const limit = turned ? 63 : 127
  for (let start = 0; start < values.length; start += group) {
    const end = start + group
    const scale = Math.fround(largestMagnitude(values, start, end) / limit)
    const inverse = scale > 0 ? 1 / scale : 0
    scales.fill(scale, start / blockSize, end / blockSize)
    for (let i = start; i < end; i++) packed[i] = (values[i] * inverse + 128.5) | 0
  }
}

function packInt4(values: Float32Array, { blockSize }: QuantizedLayout, parts: PackedParts): void {
  const { packed, scales, zeroPoints } = parts
  zeroPoints.fill(0x88)
  for (let block = 0, start = 0; start < values.length; block++, start += blockSize) {
    let least = 0
    let most = 0
    for (let i = start; i < start + blockSize; i++) {
      const value = values[i]
      least = Math.min(least, value)
      most = Math.max(most, value)
    }
    const scale = Math.fround((most > -least ? most : least) / -8)
    const inverse = scale !== 0 ? 1 / scale : 0
    scales[block] = scale
    for (let i = start; i < start + blockSize; i += 2) {
      const low = Math.min(15, (values[i] * inverse + 8.5) | 0)
      const high = Math.min(15, (values[i + 1] * inverse + 8.5) | 0)
      packed[i >> 1] = low | (high << 4)
    }
  }
}

function packInt4Asymmetric(values: Float32Array, { blockSize }: QuantizedLayout, parts: PackedParts): void {
  const { packed, scales, zeroPoints } = parts
  for (let block = 0, start = 0; start < values.length; block++, start += blockSize) {
    let least = 0
    let most = 0
    for (let i = start; i < start + blockSize; i++) {
      const value = values[i]
      least = Math.min(least, value)
      most = Math.max(most, value)
    }
    const scale = Math.fround((most - least) / 15)
    const inverse = scale > 0 ? 1 / scale : 0
    const zero = Math.min(15, Math.round(-least * inverse))
    scales[block] = scale
    zeroPoints[block >> 1] |= zero << (4 * (block & 1))
    const offset = zero + 0.5
    for (let i = start; i < start + blockSize; i += 2) {
      const low = Math.max(0, Math.min(15, (values[i] * inverse + offset) | 0))
      const high = Math.max(0, Math.min(15, (values[i + 1] * inverse + offset) | 0))
      packed[i >> 1] = low | (high << 4)
    }
  }
}

/** bitsandbytes puts the first of two values into the upper half of a byte. */
function packCodes(
  values: Float32Array,
  { blockSize }: QuantizedLayout,
  { scale, bounds, below, above }: NearestCells,
  { packed, scales }: PackedParts,
): void {
  for (let block = 0, start = 0; start < values.length; block++, start += blockSize) {
    const largest = largestMagnitude(values, start, start + blockSize)
    const inverse = largest > 0 ? Math.fround(1 / largest) : 0
    scales[block] = largest
    for (let i = start; i < start + blockSize; i += 2) {
      const first = Math.fround(values[i] * inverse)
      const second = Math.fround(values[i + 1] * inverse)
      const a = ((first + 1) * scale) | 0
      const b = ((second + 1) * scale) | 0
      const high = first > bounds[a] ? above[a] : below[a]
      const low = second > bounds[b] ? above[b] : below[b]
      packed[i >> 1] = (high << 4) | low
    }
  }
}

const NESTED_BLOCK = 256

/**
 * Double quantisation: the scales after they were held in 8 bits, as bitsandbytes does it (less their mean, in blocks of
 * 256, by the dynamic map). What is kept here are the rounded values themselves.
 */
export function doubleQuantized(scales: Float32Array): Float32Array {
  const map = dynamicMap()
  const table = new NearestEntry(map)
  let sum = 0
  for (const scale of scales) sum += scale
  const offset = Math.fround(sum / scales.length)
  const result = new Float32Array(scales.length)
  for (let start = 0; start < scales.length; start += NESTED_BLOCK) {
    const shifted = scales.slice(start, start + NESTED_BLOCK).map(scale => scale - offset)
    const largest = largestMagnitude(shifted, 0, shifted.length)
    const inverse = largest > 0 ? Math.fround(1 / largest) : 0
    for (const [i, value] of shifted.entries()) {
      const code = map[table.of(Math.fround(value * inverse))]
      result[start + i] = Math.fround(Math.fround(code * largest) + offset)
    }
  }
  return result
}
