/** @file Tests of orders and batches. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { batches, epochOrder, lengthGroupedBatches } from './sampler.ts'

const sorted = (values: number[]) => [...values].sort((a, b) => a - b)
const range = (n: number) => Array.from({ length: n }, (_, i) => i)

describe('epochOrder', () => {
  it('is a permutation that seed and epoch decide', () => {
    fc.assert(
      fc.property(fc.nat({ max: 300 }), fc.nat(), fc.nat({ max: 50 }), (n, seed, epoch) => {
        expect(sorted(epochOrder(n, seed, epoch))).toEqual(range(n))
        expect(epochOrder(n, seed, epoch)).toEqual(epochOrder(n, seed, epoch))
      }),
      { numRuns: 50 },
    )
  })

  it('differs between epochs and between seeds', () => {
    const orders = [epochOrder(30, 0, 0), epochOrder(30, 0, 1), epochOrder(30, 1, 0), epochOrder(30, 1, 1)]
    expect(new Set(orders.map(String)).size).toBe(4)
  })
})

describe('batches', () => {
  it('cuts an order into full batches and keeps or drops the partial one', () => {
    expect(batches(range(5), 2)).toEqual([[0, 1], [2, 3], [4]])
    expect(batches(range(5), 2, { dropLast: true })).toEqual([
      [0, 1],
      [2, 3],
    ])
    expect(batches(range(4), 2, { dropLast: true })).toHaveLength(2)
    expect(batches([], 2)).toEqual([])
  })

  it('refuses a batch size that is no positive whole number', () => {
    for (const size of [0, -1, 1.5, Number.NaN])
      expect(() => batches([0], size)).toThrow('expected a whole number from 1 on')
  })
})

describe('lengthGroupedBatches', () => {
  const lengthsOf = fc.array(fc.integer({ min: 1, max: 500 }), { minLength: 1, maxLength: 300 })

  it('uses every example once, with the longest in the first batch, the same for the same seed', () => {
    fc.assert(
      fc.property(lengthsOf, fc.integer({ min: 1, max: 16 }), fc.nat(), (lengths, size, seed) => {
        const result = lengthGroupedBatches(lengths, size, seed, 2)
        expect(sorted(result.flat())).toEqual(range(lengths.length))
        expect(result.slice(0, -1).every(batch => batch.length === size)).toBe(true)
        expect(lengths[result[0][0]]).toBe(Math.max(...lengths))
        expect(lengthGroupedBatches(lengths, size, seed, 2)).toEqual(result)
      }),
      { numRuns: 50 },
    )
  })

  it('pads far less than batches in random order do', () => {
    const lengths = range(1000).map(i => 1 + ((i * 7919) % 251))
    const padding = (all: number[][]) =>
      all.reduce((sum, batch) => {
        const longest = Math.max(...batch.map(i => lengths[i]))
        return sum + batch.reduce((rest, i) => rest + longest - lengths[i], 0)
      }, 0)
    const random = padding(batches(epochOrder(1000, 0, 0), 8))
    expect(padding(lengthGroupedBatches(lengths, 8, 0, 0))).toBeLessThan(random / 5)
  })

  it('differs between epochs and drops the partial batch when asked', () => {
    const lengths = range(101)
    expect(lengthGroupedBatches(lengths, 4, 0, 0)).not.toEqual(lengthGroupedBatches(lengths, 4, 0, 1))
    expect(lengthGroupedBatches(lengths, 4, 0, 0, { dropLast: true })).toHaveLength(25)
  })
})
