/** @file Conversion between element types, against slow references made from the definition of each format. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { fromFloat32, toFloat32 } from './cast.ts'
import { asTypedArray, bytesPerElement, DTYPES, type Dtype } from './dtype.ts'

interface Reference {
  dtype: Dtype
  exponentBits: number
  mantissaBits: number
  hasInfinity: boolean
}

const SMALL_FLOATS: Reference[] = [
  { dtype: 'F16', exponentBits: 5, mantissaBits: 10, hasInfinity: true },
  { dtype: 'BF16', exponentBits: 8, mantissaBits: 7, hasInfinity: true },
  { dtype: 'F8_E5M2', exponentBits: 5, mantissaBits: 2, hasInfinity: true },
  { dtype: 'F8_E4M3', exponentBits: 4, mantissaBits: 3, hasInfinity: false },
]

/** The value of a bit pattern, from the textbook definition. */
function decodeSlowly({ exponentBits, mantissaBits, hasInfinity }: Reference, bits: number): number {
  const digits = bits.toString(2).padStart(1 + exponentBits + mantissaBits, '0')
  const sign = digits[0] === '1' ? -1 : 1
  const exponent = Number.parseInt(digits.slice(1, 1 + exponentBits), 2)
  const fraction = Number.parseInt(digits.slice(1 + exponentBits), 2) / 2 ** mantissaBits
  const bias = 2 ** (exponentBits - 1) - 1
  if (hasInfinity && exponent === 2 ** exponentBits - 1)
    return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN
  if (!hasInfinity && !digits.slice(1).includes('0')) return Number.NaN
  return exponent === 0 ? sign * fraction * 2 ** (1 - bias) : sign * (1 + fraction) * 2 ** (exponent - bias)
}

const bitCount = (reference: Reference) => 1 + reference.exponentBits + reference.mantissaBits

/** Every non-negative finite value, ascending: the index is the bit pattern. */
function finiteValues(reference: Reference): number[] {
  const values: number[] = []
  for (let bits = 0; ; bits++) {
    const value = decodeSlowly(reference, bits)
    if (!Number.isFinite(value)) return values
    values.push(value)
  }
}

/** The bit pattern nearest to a value that is not NaN, found by search; ties go to the even pattern. */
function encodeSlowly(reference: Reference, finite: number[], value: number): number {
  const signBit = Object.is(value, -0) || value < 0 ? 2 ** (bitCount(reference) - 1) : 0
  const magnitude = Math.abs(value)
  let below = 0
  let above = finite.length
  while (above - below > 1) {
    const middle = (below + above) >> 1
    if (finite[middle] <= magnitude) below = middle
    else above = middle
  }
  // One step past the largest finite value stands for overflow.
  const last = finite.length - 1
  const next = below === last ? 2 * finite[last] - finite[last - 1] : finite[below + 1]
  const toLower = magnitude - finite[below]
  const toUpper = next - magnitude
  const up = toUpper < toLower || (toUpper === toLower && below % 2 === 1)
  return signBit + below + (up ? 1 : 0)
}

const bytesOfBits = (bits: number[], size: number): Uint8Array =>
  size === 2 ? new Uint8Array(Uint16Array.from(bits).buffer) : Uint8Array.from(bits)

describe.each(SMALL_FLOATS)('$dtype', reference => {
  const { dtype } = reference
  const size = bytesPerElement(dtype)
  const everyPattern = Array.from({ length: 2 ** (8 * size) }, (_, bits) => bits)
  const finite = finiteValues(reference)
  const encode = (values: ArrayLike<number>) =>
    Array.from(asTypedArray(dtype, fromFloat32(dtype, Float32Array.from(values))), Number)

  it('decodes every bit pattern to its value', () => {
    const values = toFloat32(dtype, bytesOfBits(everyPattern, size))
    const wrong = everyPattern.filter(bits => !Object.is(values[bits], decodeSlowly(reference, bits)))
    expect(wrong).toEqual([])
  })

  it('encodes every decoded value back to the same bits, NaN payloads included', () => {
    const bytes = bytesOfBits(everyPattern, size)
    expect(Buffer.from(fromFloat32(dtype, toFloat32(dtype, bytes))).equals(bytes)).toBe(true)
  })

  it('rounds the midpoint between neighbours to the even one, and its neighbours in float32 to theirs', () => {
    const midpoints = finite.slice(1).map((value, i) => (value + finite[i]) / 2)
    const around = midpoints.flatMap(value => {
      const bits = new Int32Array(Float32Array.of(value).buffer)[0]
      return [...new Float32Array(Int32Array.of(bits - 1, bits, bits + 1).buffer)]
    })
    const signed = [...around, ...around.map(value => -value)]
    const got = encode(signed)
    const wrong = signed.filter((value, i) => got[i] !== encodeSlowly(reference, finite, value))
    expect(wrong).toEqual([])
  })

  it('rounds any float32 in its range to the nearest value', () => {
    const largest = finite[finite.length - 1]
    const everyMagnitude = fc.float({ min: -largest, max: largest, noNaN: true })
    const mostlyLarge = fc.double({ min: -1, max: 1, noNaN: true }).map(share => Math.fround(share * largest))
    fc.assert(
      fc.property(fc.array(fc.oneof(everyMagnitude, mostlyLarge)), values => {
        expect(encode(values)).toEqual(values.map(value => encodeSlowly(reference, finite, value)))
      }),
    )
  })

  it('overflows to infinity, or to NaN where there is none', () => {
    const largest = finite[finite.length - 1]
    const step = largest - finite[finite.length - 2]
    const lastBits = finite.length - 1
    const justBelow = largest + step * 0.498
    expect(encode([justBelow, -justBelow])).toEqual([lastBits, lastBits + 2 ** (8 * size - 1)])
    const overflow = reference.hasInfinity ? Number.POSITIVE_INFINITY : Number.NaN
    for (const value of [largest + step, Number.POSITIVE_INFINITY]) {
      const [up, down] = toFloat32(dtype, fromFloat32(dtype, Float32Array.of(value, -value)))
      expect([up, down]).toEqual([overflow, -overflow])
    }
    // The tie beyond the largest value goes to the even pattern.
    expect(encode([largest + step / 2])[0]).toBe(lastBits % 2 === 0 ? lastBits : lastBits + 1)
  })

  it('keeps NaN a NaN, whatever its payload', () => {
    const bits = Uint32Array.of(0x7fc00000, 0xffc00000, 0x7f800001, 0xff800001, 0x7fffffff)
    const back = toFloat32(dtype, fromFloat32(dtype, new Float32Array(bits.buffer)))
    expect([...back].every(Number.isNaN)).toBe(true)
  })

  it('keeps the sign of zero and underflows to it', () => {
    const top = 2 ** (8 * size - 1)
    expect(encode([0, -0, 2 ** -149, -(2 ** -149), 2 ** -140])).toEqual([0, top, 0, top, 0])
  })
})

describe('known values', () => {
  it.each([
    ['F16', 0x3c00, 1],
    ['F16', 0x7bff, 65504],
    ['F16', 0x0001, 2 ** -24],
    ['F16', 0xc000, -2],
    ['BF16', 0x3f80, 1],
    ['BF16', 0x7f7f, 3.3895313892515355e38],
    ['BF16', 0x0001, 2 ** -133],
    ['F8_E4M3', 0x38, 1],
    ['F8_E4M3', 0x7e, 448],
    ['F8_E4M3', 0x01, 2 ** -9],
    ['F8_E5M2', 0x3c, 1],
    ['F8_E5M2', 0x7b, 57344],
    ['F8_E5M2', 0x01, 2 ** -16],
  ] as const)('%s 0x%s is %d', (dtype, bits, value) => {
    expect(toFloat32(dtype, bytesOfBits([bits], bytesPerElement(dtype)))[0]).toBe(value)
  })
})

describe('integers and wide floats', () => {
  const ranges = { I8: 7, U8: 8, I16: 15, U16: 16, I32: 24, U32: 24, I64: 24, U64: 24 } as const

  it.each(Object.entries(ranges) as [Dtype, number][])('%s takes whole numbers both ways', (dtype, bits) => {
    const lowest = dtype.startsWith('I') ? -(2 ** bits) : 0
    fc.assert(
      fc.property(fc.array(fc.integer({ min: lowest, max: 2 ** bits - 1 })), values => {
        const bytes = fromFloat32(dtype, Float32Array.from(values))
        expect(bytes.byteLength).toBe(values.length * bytesPerElement(dtype))
        expect(Array.from(asTypedArray(dtype, bytes), Number)).toEqual(values)
        expect([...toFloat32(dtype, bytes)]).toEqual(values)
      }),
    )
  })

  it('reads I64 and U64 of any size rounded once, to nearest even', () => {
    const nearest = (value: bigint): number => {
      const lower = Math.fround(Number(value))
      const candidates = new Float32Array(
        Int32Array.of(-1, 0, 1).map(step => new Int32Array(Float32Array.of(lower).buffer)[0] + step).buffer,
      )
      const distance = (candidate: number) => {
        const difference = BigInt(candidate) - value
        return difference < 0n ? -difference : difference
      }
      const even = (candidate: number) => new Int32Array(Float32Array.of(candidate).buffer)[0] % 2 === 0
      return [...candidates].reduce((best, candidate) => {
        const [a, b] = [distance(candidate), distance(best)]
        return a < b || (a === b && even(candidate)) ? candidate : best
      })
    }
    const tie = 2n ** 60n + 2n ** 36n
    const hard = [tie, tie + 1n, tie - 1n, 2n ** 53n + 2n ** 29n + 1n, 2n ** 62n + 2n ** 38n + 1n]
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), value => {
        if (value > -(2n ** 25n) && value < 2n ** 25n) return
        expect(toFloat32('I64', new Uint8Array(BigInt64Array.of(value).buffer))[0]).toBe(nearest(value))
      }),
      { examples: [...hard, ...hard.map(value => -value)].map(value => [value]) },
    )
    for (const value of [...hard, 2n ** 64n - 1n, 2n ** 63n]) {
      expect(toFloat32('U64', new Uint8Array(BigUint64Array.of(value).buffer))[0]).toBe(nearest(value))
    }
  })

  it('reads BOOL as 0 or 1 and writes only those', () => {
    expect([...toFloat32('BOOL', Uint8Array.of(0, 1, 255))]).toEqual([0, 1, 1])
    expect([...fromFloat32('BOOL', Float32Array.of(1, 0))]).toEqual([1, 0])
    expect(() => fromFloat32('BOOL', Float32Array.of(0, 2))).toThrow(/element 1 is 2.*BOOL/)
  })

  it.each([
    ['I8', 128],
    ['I8', -129],
    ['U8', -1],
    ['I32', 0.5],
    ['I32', 2 ** 31],
    ['U64', 2 ** 64],
    ['I16', Number.NaN],
    ['I64', Number.POSITIVE_INFINITY],
  ] as const)('refuses to write %s from %d', (dtype, value) => {
    expect(() => fromFloat32(dtype, Float32Array.of(0, value))).toThrow(RangeError)
    expect(() => fromFloat32(dtype, Float32Array.of(0, value))).toThrow(`element 1 is ${value}`)
  })

  it('rounds F64 to float32 and widens it exactly', () => {
    const values = Float64Array.of(0.1, 1e300, -0, 1 + 2 ** -24, Number.NaN)
    expect([...toFloat32('F64', new Uint8Array(values.buffer))]).toEqual([...Float32Array.from(values)])
    expect([...asTypedArray('F64', fromFloat32('F64', Float32Array.of(0.1)))]).toEqual([Math.fround(0.1)])
  })

  it('gives F32 without a copy where aligned, and the same values where not', () => {
    const memory = new Uint8Array(12)
    memory.set(new Uint8Array(Float32Array.of(1.5, -2).buffer), 0)
    expect(toFloat32('F32', memory.subarray(0, 8)).buffer).toBe(memory.buffer)
    memory.copyWithin(1, 0, 8)
    expect([...toFloat32('F32', memory.subarray(1, 9))]).toEqual([1.5, -2])
  })
})

it.each(DTYPES)('%s survives misaligned bytes and empty tensors', dtype => {
  const size = bytesPerElement(dtype)
  const values = Float32Array.of(1, 0, 1)
  const memory = new Uint8Array(3 * size + 1)
  memory.set(fromFloat32(dtype, values), 1)
  expect([...toFloat32(dtype, memory.subarray(1))]).toEqual([1, 0, 1])
  expect(toFloat32(dtype, new Uint8Array(0))).toHaveLength(0)
  expect(fromFloat32(dtype, new Float32Array(0))).toHaveLength(0)
})
