/** @file The classes of distances, against those of Transformers. */
import { describe, expect, it } from 'vitest'
import { distanceRows } from './relative-position.ts'

/**
 * Made with transformers 5.23: the rows for the distances from `-maxDistance - 3` to `maxDistance + 3`, every `step`-th,
 * and a checksum of all.
 */
const EXPECTED = [
  {
    options: { buckets: 256, maxDistance: 512 },
    step: 85,
    rows: [0, 16, 37, 62, 99, 166, 251, 336, 408, 446, 473, 494, 510],
    checksum: 888427,
  },
  {
    options: { buckets: 8, maxDistance: 64 },
    step: 11,
    rows: [0, 1, 1, 1, 2, 2, 7, 13, 14, 15, 15, 15, 15],
    checksum: 103446,
  },
  {
    options: { buckets: 32, maxDistance: 128 },
    step: 21,
    rows: [0, 2, 3, 5, 8, 12, 27, 48, 55, 58, 60, 62, 63],
    checksum: 587257,
  },
  {
    options: { buckets: 4, maxDistance: 7 },
    step: 1,
    rows: [0, 0, 0, 0, 1, 1, 1, 1, 2, 3, 4, 5, 6, 7, 7, 7, 7, 7, 7, 7, 7],
    checksum: 1156,
  },
]

describe('distanceRows', () => {
  it.each(EXPECTED)('are those of Transformers: $options', ({ options, step, rows, checksum }) => {
    const own = distanceRows(options)
    const beyond = 3
    const all = Array.from(
      { length: own.length + 2 * beyond },
      (_, i) => own[Math.min(Math.max(i - beyond, 0), own.length - 1)],
    )
    expect(all.filter((_, i) => i % step === 0)).toEqual(rows)
    expect(all.reduce((sum, row, i) => sum + row * i, 0) % 1_000_003).toBe(checksum)
  })

  it('are one a distance without buckets', () => {
    expect(distanceRows({ buckets: -1, maxDistance: 2 })).toEqual([0, 1, 2, 3, 3])
  })
})
