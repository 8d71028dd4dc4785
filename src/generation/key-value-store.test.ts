/** @file The store of keys and values against a plain list. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { KeyValueStore } from './key-value-store.ts'

describe('KeyValueStore', () => {
  it('holds what was appended in front of unused positions, at multiples of the bucket', () => {
    const counts = fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1, maxLength: 8 })
    const sizes = fc.record({ batch: fc.integer({ min: 1, max: 3 }), heads: fc.integer({ min: 1, max: 3 }) })
    fc.assert(
      fc.property(counts, sizes, fc.integer({ min: 1, max: 6 }), (appended, { batch, heads }, bucket) => {
        const width = 2
        const store = new KeyValueStore([{ name: 'key.0', heads, width }], batch, bucket)
        let value = 0
        const planes: number[][] = Array.from({ length: batch * heads }, () => [])
        for (const count of appended) {
          const rows = planes.map(() => Array.from({ length: count * width }, () => ++value))
          for (const [plane, row] of rows.entries()) planes[plane].push(...row)
          store.append([Float32Array.from(rows.flat())], count)
        }
        const { dims, data } = store.feeds()['key.0']
        const length = appended.reduce((a, b) => a + b)
        expect(store.length).toBe(length)
        expect(dims).toEqual([batch, heads, Math.ceil(length / bucket) * bucket, width])
        const unused = Array((store.capacity - length) * width).fill(0)
        expect([...(data as Float32Array)]).toEqual(planes.flatMap(plane => [...plane, ...unused]))
      }),
    )
  })
})
