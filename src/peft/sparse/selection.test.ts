/** @file Tests of choosing the entries with the largest scores. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { allocate, largestEntries } from './selection.ts'

const scores = fc.array(
  fc.array(fc.oneof(fc.constantFrom(0, 1, 1e-30), fc.float({ min: 0, max: 1e6, noNaN: true })), { maxLength: 20 }),
  { minLength: 1, maxLength: 4 },
)

describe('largestEntries', () => {
  it('takes exactly as many as asked for, the largest, and of equal ones the first', () => {
    fc.assert(
      fc.property(scores, fc.nat(), (values, seed) => {
        const arrays = values.map(own => Float32Array.from(own))
        const all = arrays.flatMap((own, array) => [...own].map((score, at) => ({ array, at, score })))
        fc.pre(all.length > 0)
        const count = 1 + (seed % all.length)
        const order = (a: (typeof all)[0], b: (typeof all)[0]) => b.score - a.score || a.array - b.array || a.at - b.at
        const expected = all.sort(order).slice(0, count)
        const chosen = largestEntries(arrays, count)
        const found = chosen.flatMap((own, array) => [...own].map(at => `${array}:${at}`))
        expect(found.sort()).toEqual(expected.map(({ array, at }) => `${array}:${at}`).sort())
        for (const own of chosen) expect([...own]).toEqual([...own].sort((a, b) => a - b))
      }),
    )
  })
})

describe('allocate', () => {
  it('spreads a share of all over the parameters, and never more than each has', () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 9 })
    fc.assert(
      fc.property(sizes, fc.double({ min: 0.001, max: 1, noNaN: true }), (own, share) => {
        const total = own.reduce((sum, size) => sum + size, 0)
        const counts = allocate(own, share, 'global')
        expect(counts.reduce((sum, count) => sum + count, 0)).toBe(Math.max(1, Math.round(share * total)))
        counts.forEach((count, i) => {
          expect(count).toBeLessThanOrEqual(own[i])
        })
      }),
    )
  })

  it('takes the share of each parameter, at least one entry', () => {
    expect(allocate([1000, 10, 4], 0.01, 'layer')).toEqual([10, 1, 1])
  })
})
