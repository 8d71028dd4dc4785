/** @file Packing: error bounds of every scheme, layouts, and values that bitsandbytes itself made. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Random } from '../util/random.ts'
import {
  CODEBOOKS,
  doubleQuantized,
  dynamicMap,
  explainMisfit,
  fittingBlockSize,
  packValues,
  type QuantizedLayout,
  QuantizedTensor,
  unpackValues,
} from './index.ts'
import { golden, goldenValues } from './testing/golden.ts'

const layout = (scheme: QuantizedLayout['scheme'], columns: number, more: Partial<QuantizedLayout> = {}) => ({
  scheme,
  rows: 1,
  columns,
  blockSize: 16,
  symmetric: true,
  transposed: false,
  ...more,
})

const values = (blocks: number) =>
  fc
    .array(fc.float({ min: -1e6, max: 1e6, noNaN: true }), { minLength: 16 * blocks, maxLength: 16 * blocks })
    .map(list => Float32Array.from(list))

const roundTrip = (x: Float32Array, as: QuantizedLayout) => unpackValues(packValues(x, as), as)

/** The largest error in each block, in units of what `unit` says of the block. */
function worstError(x: Float32Array, y: Float32Array, unit: (block: Float32Array) => number): number {
  let worst = 0
  for (let start = 0; start < x.length; start += 16) {
    const block = x.slice(start, start + 16)
    const size = unit(block)
    block.forEach((value, i) => {
      const error = Math.abs(value - y[start + i])
      worst = Math.max(worst, size > 0 ? error / size : error > 0 ? Infinity : 0)
    })
  }
  return worst
}

const magnitude = (block: Float32Array) => Math.max(...block.map(Math.abs))

describe('quantising', () => {
  it('to int8 errs by at most half a step of 1/127 of the largest magnitude in the block', () => {
    fc.assert(
      fc.property(values(3), x => {
        expect(worstError(x, roundTrip(x, layout('int8', 48)), magnitude)).toBeLessThan(0.5001 / 127)
      }),
    )
  })

  it('to symmetric int4 errs by at most a step of 1/8, and keeps the value of largest magnitude', () => {
    fc.assert(
      fc.property(values(4), x => {
        const y = roundTrip(x, layout('int4', 64))
        expect(worstError(x, y, magnitude)).toBeLessThan(1.001 / 8)
        for (let start = 0; start < 64; start += 16) {
          const block = x.slice(start, start + 16)
          const largest = magnitude(block)
          // Of two such values of opposite signs one is kept.
          const errors = [...block].map((value, i) =>
            Math.abs(value) === largest ? Math.abs(value - y[start + i]) : Infinity,
          )
          expect(Math.min(...errors)).toBeLessThanOrEqual(1e-6 * largest)
        }
      }),
    )
  })

  it('to asymmetric int4 errs by at most a step of 1/15 of the range with zero in it, and keeps zero', () => {
    fc.assert(
      fc.property(values(4), x => {
        x[3] = 0
        const y = roundTrip(x, layout('int4', 64, { symmetric: false }))
        const range = (block: Float32Array) => Math.max(0, ...block) - Math.min(0, ...block)
        expect(worstError(x, y, range)).toBeLessThan(1.001 / 15)
        expect(y[3]).toBeCloseTo(0, 12)
      }),
    )
  })

  it.each(['nf4', 'fp4'] as const)('to %s takes the nearest value of the table', scheme => {
    fc.assert(
      fc.property(values(2), x => {
        const y = roundTrip(x, layout(scheme, 32))
        for (const [i, value] of x.entries()) {
          const largest = magnitude(x.slice(i & ~15, (i & ~15) + 16))
          const best = Math.min(...[...CODEBOOKS[scheme]].map(code => Math.abs(code * largest - value)))
          expect(Math.abs(y[i] - value)).toBeLessThanOrEqual(best + 1e-6 * largest)
        }
      }),
    )
  })

  it.each(['int8', 'int4', 'nf4', 'fp4'] as const)('%s values again changes nothing', scheme => {
    const random = new Random(3)
    const x = Float32Array.from({ length: 128 }, () => random.normal())
    const once = roundTrip(x, layout(scheme, 128))
    const twice = roundTrip(once, layout(scheme, 128))
    for (const [i, value] of once.entries()) expect(Math.abs(twice[i] - value)).toBeLessThan(1e-6)
  })

  it.each(['int8', 'int4', 'nf4', 'fp4'] as const)('a block of zeros as %s gives zeros', scheme => {
    expect(roundTrip(new Float32Array(32), layout(scheme, 32)).every(value => value === 0)).toBe(true)
  })

  it('a row at a time gives the row one scale', () => {
    const x = Float32Array.from({ length: 64 }, (_, i) => i - 20)
    const { scales } = packValues(x, layout('int8', 32, { rows: 2 }), { perRow: true })
    expect([...scales]).toEqual([20 / 127, 20 / 127, 43 / 127, 43 / 127].map(Math.fround))
  })
})

describe('what bitsandbytes does', () => {
  const as = layout('nf4', 64, { rows: 32, blockSize: 64 })

  it('to the normal float is done here bit for bit', () => {
    expect(Buffer.from(packValues(goldenValues(), as).packed).toString('base64')).toBe(golden.packed)
  })

  it('to scales of scales is done here within rounding', () => {
    const parts = packValues(goldenValues(), as)
    const values = unpackValues({ ...parts, scales: doubleQuantized(parts.scales) }, as)
    for (const [i, value] of golden.values.entries()) expect(values[i]).toBeCloseTo(value, 7)
    for (const [i, value] of golden.last.entries()) expect(values[values.length - 4 + i]).toBeCloseTo(value, 7)
    expect(values.reduce((sum, value) => sum + Math.abs(value), 0)).toBeCloseTo(golden.sum, 4)
  })

  it('has the same map of 8 bits', () => {
    const map = dynamicMap()
    expect(map).toHaveLength(256)
    for (const [i, at] of [0, 1, 100, 127, 128, 200, 254, 255].entries()) {
      expect(Math.abs(map[at] - golden.map[i])).toBeLessThanOrEqual(2e-7 * Math.abs(golden.map[i]))
    }
  })
})

describe('a layout', () => {
  it.each([
    ['rows of no whole blocks', { columns: 40 }, 'no multiple of 16'],
    ['rows of an odd number of blocks in 4 bits', { scheme: 'int4', columns: 48 }, 'no multiple of 32'],
    ['blocks of another size than a power of two', { blockSize: 24 }, 'expected a power of two'],
    ['blocks that no kernel takes', { blockSize: 512 }, 'at most 256'],
    ['a last block that is not full', { scheme: 'nf4', blockSize: 64, columns: 96 }, 'no whole number of blocks'],
  ] as const)('is refused with %s', (_, change, message) => {
    expect(explainMisfit({ ...layout('int8', 64), ...change })).toContain(message)
  })

  it('takes the largest block that divides the rows', () => {
    expect(fittingBlockSize(layout('int8', 96), 64)).toBe(32)
    expect(fittingBlockSize(layout('int4', 96), 32)).toBe(16)
    expect(fittingBlockSize(layout('int8', 40), 32)).toBeUndefined()
  })
})

describe('a quantised tensor', () => {
  const as = layout('int4', 64, { rows: 3, transposed: true })
  const x = Float32Array.from({ length: 192 }, (_, i) => Math.sin(i))

  it('gives its values in the shape of its parameter', async () => {
    const tensor = QuantizedTensor.from('w', as, packValues(x, as))
    const [values, rows] = [await tensor.read(), roundTrip(x, as)]
    expect(tensor.shape).toEqual([64, 3])
    for (let i = 0; i < 192; i++) expect(values[i]).toBe(rows[(i % 3) * 64 + Math.floor(i / 3)])
  })

  it('refuses bytes of another length', () => {
    const bytes = new Uint8Array(100)
    expect(() => new QuantizedTensor('w', as, { kind: 'memory', dtype: 'U8', shape: [100], bytes })).toThrow(
      '"w" has 100 bytes, expected 192',
    )
  })
})
