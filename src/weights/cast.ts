/** @file Conversion of tensor bytes of every element type to and from float32. */
import { asBytes, asTypedArray, bytesPerElement, type Dtype } from './dtype.ts'
import {
  decodeBfloat16,
  decodingTable,
  encodeBfloat16,
  encodeBits,
  FLOAT8_E4M3,
  FLOAT8_E5M2,
  FLOAT16,
  type FloatFormat,
} from './float-bits.ts'

const SMALL_FLOATS = new Map<Dtype, FloatFormat>([
  ['F16', FLOAT16],
  ['F8_E4M3', FLOAT8_E4M3],
  ['F8_E5M2', FLOAT8_E5M2],
])

const INTEGER_RANGE = new Map<Dtype, readonly [lowest: number, beyond: number]>([
  ['BOOL', [0, 2]],
  ['U8', [0, 2 ** 8]],
  ['I8', [-(2 ** 7), 2 ** 7]],
  ['U16', [0, 2 ** 16]],
  ['I16', [-(2 ** 15), 2 ** 15]],
  ['U32', [0, 2 ** 32]],
  ['I32', [-(2 ** 31), 2 ** 31]],
  ['U64', [0, 2 ** 64]],
  ['I64', [-(2 ** 63), 2 ** 63]],
])

const tables = new Map<Dtype, Uint32Array>()

function tableOf(dtype: Dtype, format: FloatFormat): Uint32Array {
  let table = tables.get(dtype)
  if (!table) tables.set(dtype, (table = decodingTable(format)))
  return table
}

/**
 * The elements of `bytes` as float32. F16, BF16, F8 and integers below 2^24 convert exactly; F64 and larger integers
 * are rounded to nearest, ties to even. BOOL gives 0 or 1. For F32 the result shares memory with `bytes` where they
 * are aligned.
 */
export function toFloat32(dtype: Dtype, bytes: Uint8Array): Float32Array {
  if (dtype === 'F32') return asTypedArray('F32', bytes)
  if (dtype === 'BOOL') return Float32Array.from(bytes, value => (value === 0 ? 0 : 1))
  if (dtype === 'I64' || dtype === 'U64') return integers64ToFloat32(dtype, bytes)
  const format = SMALL_FLOATS.get(dtype)
  if (!format && dtype !== 'BF16') return new Float32Array(asTypedArray(dtype, bytes) as Float64Array)

  const source = asTypedArray(dtype, bytes) as Uint16Array | Uint8Array
  const result = new Float32Array(source.length)
  const bits = new Uint32Array(result.buffer)
  if (!format) {
    decodeBfloat16(source as Uint16Array, bits)
  } else {
    const table = tableOf(dtype, format)
    for (let i = 0; i < source.length; i++) bits[i] = table[source[i]]
  }
  return result
}

function integers64ToFloat32(dtype: 'I64' | 'U64', bytes: Uint8Array): Float32Array {
  const words = asTypedArray(dtype, bytes)
  const low = new Uint32Array(words.buffer, words.byteOffset, words.length * 2)
  const high = dtype === 'I64' ? new Int32Array(words.buffer, words.byteOffset, words.length * 2) : low
  const result = new Float32Array(words.length)
  for (let i = 0; i < result.length; i++) {
    const upper = high[2 * i + 1]
    let lower = low[2 * i]
    // Beyond 2^53 a double would round first and the float again; a sticky bit makes the first step exact.
    if ((upper >= 0x200000 || upper < -0x200000) && (lower & 0x7ff) !== 0) lower = ((lower & ~0x7ff) | 0x800) >>> 0
    result[i] = upper * 2 ** 32 + lower
  }
  return result
}

/**
 * The bytes of `values` as `dtype`. F16, BF16 and F8 are rounded to nearest, ties to even, with PyTorch's overflow:
 * infinity, or NaN in F8_E4M3. An integer type takes only whole numbers in its range; anything else is a `RangeError`
 * that names the first such element, since a silent truncation would lose it. For F32 the bytes are those of `values`.
 */
export function fromFloat32(dtype: Dtype, values: Float32Array): Uint8Array {
  const size = bytesPerElement(dtype)
  if (dtype === 'F32') return asBytes(values)
  if (dtype === 'F64') return asBytes(new Float64Array(values))
  const range = INTEGER_RANGE.get(dtype)
  if (range) return integersFromFloat32(dtype, values, range)

  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length)
  const result = new Uint8Array(values.length * size)
  const format = SMALL_FLOATS.get(dtype)
  if (format) encodeBits(format, bits, size === 2 ? new Uint16Array(result.buffer) : result)
  else encodeBfloat16(bits, new Uint16Array(result.buffer))
  return result
}

function integersFromFloat32(dtype: Dtype, values: Float32Array, range: readonly [number, number]): Uint8Array {
  const [lowest, beyond] = range
  const bad = values.findIndex(value => !Number.isInteger(value) || value < lowest || value >= beyond)
  if (bad >= 0) {
    throw new RangeError(
      `fromFloat32: element ${bad} is ${values[bad]}, expected a whole number from ${lowest} to below ${beyond} for ${dtype}; round or clamp the values first.`,
    )
  }
  const bytes = new Uint8Array(values.length * bytesPerElement(dtype))
  if (dtype === 'I64' || dtype === 'U64') {
    asTypedArray(dtype, bytes).set(Array.from(values, value => BigInt(value)) as never)
  } else {
    ;(asTypedArray(dtype, bytes) as Int32Array).set(values)
  }
  return bytes
}
