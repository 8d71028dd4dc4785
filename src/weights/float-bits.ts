/** @file Bit patterns of 16-bit and 8-bit floats, to and from those of float32. */

/** A small binary floating-point format: one sign bit, then the exponent, then the mantissa. */
export interface FloatFormat {
  /** Bits of the whole number. */
  readonly bits: number
  /** Bits of the mantissa. */
  readonly mantissaBits: number
  /** What is added to the exponent when it is stored. */
  readonly bias: number
  /** The largest finite magnitude, as a bit pattern. */
  readonly maxFinite: number
  /** The bit pattern of infinity; `undefined` in a format without one, where overflow gives NaN, as in PyTorch. */
  readonly infinity: number | undefined
}

export const FLOAT16: FloatFormat = { bits: 16, mantissaBits: 10, bias: 15, maxFinite: 0x7bff, infinity: 0x7c00 }
export const FLOAT8_E5M2: FloatFormat = { bits: 8, mantissaBits: 2, bias: 15, maxFinite: 0x7b, infinity: 0x7c }
/** The variant without infinities ("fn" in PyTorch): only all ones is NaN. */
export const FLOAT8_E4M3: FloatFormat = { bits: 8, mantissaBits: 3, bias: 7, maxFinite: 0x7e, infinity: undefined }

/** The float32 bit pattern of every value of `format`, indexed by that value's own bits; NaN payloads are kept. */
export function decodingTable(format: FloatFormat): Uint32Array {
  const signBit = 1 << (format.bits - 1)
  const table = new Uint32Array(2 * signBit)
  const value = new Float32Array(1)
  const valueBits = new Uint32Array(value.buffer)
  const shift = 23 - format.mantissaBits
  for (let magnitude = 0; magnitude < signBit; magnitude++) {
    const exponent = magnitude >>> format.mantissaBits
    const mantissa = magnitude & ((1 << format.mantissaBits) - 1)
    if (magnitude > format.maxFinite) {
      valueBits[0] = 0x7f800000 | (mantissa << shift)
    } else {
      const fraction = mantissa / (1 << format.mantissaBits)
      value[0] = exponent === 0 ? fraction * 2 ** (1 - format.bias) : (1 + fraction) * 2 ** (exponent - format.bias)
    }
    table[magnitude] = valueBits[0]
    table[magnitude | signBit] = (valueBits[0] | 0x80000000) >>> 0
  }
  return table
}

/**
 * Rounds float32 bit patterns to `format`, to nearest with ties to even, into `out`. Overflow gives infinity (NaN where
 * the format has none), underflow subnormals and signed zero; NaN stays NaN with the payload that fits.
 */
export function encodeBits(format: FloatFormat, source: Uint32Array, out: Uint16Array | Uint8Array): void {
  const { bits, mantissaBits, bias, maxFinite } = format
  const nan = (1 << (bits - 1)) - 1
  const overflow = format.infinity ?? nan
  const shift = 23 - mantissaBits
  const rebias = (127 - bias) << 23
  const smallestNormal = (128 - bias) << 23
  const roundDown = (1 << (shift - 1)) - 1
  for (let i = 0; i < source.length; i++) {
    const sign = (source[i] >>> 31) << (bits - 1)
    const magnitude = source[i] & 0x7fffffff
    let result: number
    if (magnitude > 0x7f800000) {
      result = format.infinity === undefined ? nan : encodeNaN(magnitude, shift, format.infinity, mantissaBits)
    } else if (magnitude >= smallestNormal) {
      const rebiased = magnitude - rebias
      result = (rebiased + roundDown + ((rebiased >>> shift) & 1)) >>> shift
      if (result > maxFinite) result = overflow
    } else {
      result = encodeSubnormal(magnitude, shift + 128 - bias - (magnitude >>> 23))
    }
    out[i] = sign | result
  }
}

function encodeNaN(magnitude: number, shift: number, infinity: number, mantissaBits: number): number {
  const payload = (magnitude & 0x7fffff) >>> shift
  return infinity | (payload === 0 ? 1 << (mantissaBits - 1) : payload)
}

function encodeSubnormal(magnitude: number, shift: number): number {
  // The whole significand lies below half of the smallest subnormal: float32 subnormals end here too.
  if (shift > 24) return 0
  const significand = (magnitude & 0x7fffff) | 0x800000
  const quotient = significand >>> shift
  const remainder = significand & ((1 << shift) - 1)
  const half = 1 << (shift - 1)
  return remainder > half || (remainder === half && (quotient & 1) === 1) ? quotient + 1 : quotient
}

/** Widens bfloat16 bit patterns to those of float32, exactly. */
export function decodeBfloat16(source: Uint16Array, out: Uint32Array): void {
  for (let i = 0; i < source.length; i++) out[i] = source[i] << 16
}

/** Rounds float32 bit patterns to bfloat16, to nearest with ties to even; NaN stays NaN. */
export function encodeBfloat16(source: Uint32Array, out: Uint16Array): void {
  for (let i = 0; i < source.length; i++) {
    const value = source[i]
    if ((value & 0x7fffffff) > 0x7f800000) out[i] = (value >>> 16) | ((value & 0x7f0000) === 0 ? 0x40 : 0)
    else out[i] = (value + 0x7fff + ((value >>> 16) & 1)) >>> 16
  }
}
