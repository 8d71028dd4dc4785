/** @file Where examples stand in batches: what is taken out of one comes back in any other. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Feature, packBatch, padBatch } from '../../data/index.ts'
import { ownShape, placesInPackedRows, placesInRows, put, take } from './places.ts'

const TOKENS = { dtype: 'int64', shape: ['batch', 'sequence'] } as const
const SPECS = { input_ids: TOKENS, attention_mask: TOKENS, labels: TOKENS }

const feature = (length: number, from: number): Feature => {
  const inputIds = Array.from({ length }, (_, i) => 1 + from + i)
  return { inputIds, labels: inputIds }
}
const features = fc
  .array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 6 })
  .map(lengths => lengths.map((length, i) => feature(length, 20 * i)))

describe('places', () => {
  it('in rows and in packed rows are those of the tokens', () => {
    fc.assert(
      fc.property(features, fc.constantFrom('left', 'right', 'packed'), (texts, side) => {
        const isPacked = side === 'packed'
        const options = { padTokenId: 0, padToMultipleOf: 4 }
        const batch = isPacked
          ? { ...packBatch(texts, options) }
          : { ...padBatch(texts, { ...options, paddingSide: side }) }
        const places = isPacked ? placesInPackedRows(texts, 'sequence') : placesInRows(batch, SPECS, texts.length)
        const { dims, data } = batch.input_ids
        const whole = Float32Array.from(data, Number)
        const own = places.map(place => take(whole, dims, TOKENS.shape, place))
        expect(own.map(values => [...values])).toEqual(texts.map(({ inputIds }) => inputIds))
        const again = new Float32Array(whole.length)
        for (const [i, place] of places.entries()) put(own[i], again, dims, TOKENS.shape, place)
        expect(again).toEqual(whole)
      }),
      { numRuns: 60 },
    )
  })

  it('cut every axis that varies', () => {
    const place = { row: 1, spans: { sequence: { start: 1, length: 2 } } }
    const shape = ['batch', 2, 'sequence', 'sequence']
    const whole = Float32Array.from({ length: 2 * 2 * 9 }, (_, i) => i)
    expect(ownShape(shape, place)).toEqual([2, 2, 2])
    expect([...take(whole, [2, 2, 3, 3], shape, place)]).toEqual([22, 23, 25, 26, 31, 32, 34, 35])
    expect([...take(whole, [2, 18], ['batch', 18], place)]).toEqual([...whole.subarray(18)])
    expect([...take(whole.subarray(0, 2), [2], ['batch'], place)]).toEqual([1])
  })

  it('of targets reach to the last one that counts', () => {
    const target = { dtype: 'int64', shape: ['batch', 'target'] } as const
    const specs = { input_ids: TOKENS, attention_mask: TOKENS, labels: target }
    const labels = {
      dtype: 'int64' as const,
      dims: [2, 3],
      data: BigInt64Array.of(-100n, 5n, -100n, -100n, -100n, -100n),
    }
    const { input_ids, attention_mask } = padBatch([feature(2, 0), feature(1, 0)], { padTokenId: 0 })
    expect(placesInRows({ input_ids, attention_mask, labels }, specs, 2).map(({ spans }) => spans)).toEqual([
      { sequence: { start: 0, length: 2 }, target: { start: 0, length: 2 } },
      { sequence: { start: 0, length: 1 }, target: { start: 0, length: 0 } },
    ])
  })
})
