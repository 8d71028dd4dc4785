/** @file The store of keys and values in the engine's memory, against plain lists. */
import fc from 'fast-check'
import { expect, it } from 'vitest'
import * as g from '../graph/index.ts'
import { defaultEngine, type ResidentTensor, tensorData } from '../runtime/index.ts'
import { numbers } from '../runtime/testing/run.ts'
import { KeyValueStore } from './key-value-store.ts'

const TENSORS = [{ name: 'key.0', heads: 2, width: 3 }]

/** Appends rows of values to stores and reads stores back. */
async function tools() {
  const engine = await defaultEngine()
  const graph = new g.Graph()
  const x = graph.input('x', 'float32', ['rows', 2, 'count', 3])
  const executable = await engine.compile({ 'new.2x3': g.mul(x, 1) })
  const run = (feed: Parameters<typeof executable.run>[0]['x'], store = {}) => executable.run({ x: feed }, { store })
  return {
    engine,
    async append(store: KeyValueStore, values: readonly (readonly number[])[]) {
      const count = values[0].length
      const data = values.flatMap(row =>
        [0, 1].flatMap(head => row.flatMap(v => [0, 1, 2].map(w => v + head / 2 + w / 8))),
      )
      await run(tensorData('float32', Float32Array.from(data), [values.length, 2, count, 3]), store.appended(count))
      store.length += count
    },
    /** The first number of each position of each row; the others must follow from it. */
    async rows(store: KeyValueStore): Promise<number[][]> {
      const feed = store.feeds()['key.0'] as ResidentTensor
      expect(feed.dims).toEqual([store.rows, 2, store.capacity, 3])
      const all = numbers((await run(feed))['new.2x3'])
      return Array.from({ length: store.rows }, (_, row) =>
        Array.from({ length: store.capacity }, (_, at) => {
          const value = (head: number, w: number) => all[((row * 2 + head) * store.capacity + at) * 3 + w]
          if (value(0, 0) !== 0) expect(value(1, 2)).toBe(value(0, 0) + 0.75)
          return value(0, 0)
        }),
      )
    },
    [Symbol.asyncDispose]: () => executable.dispose(),
  }
}

it('holds what was appended in front of unused positions, at multiples of the bucket', async () => {
  await using made = await tools()
  const { engine, append, rows } = made
  const appended = fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 4 })
  await fc.assert(
    fc.asyncProperty(
      appended,
      fc.integer({ min: 1, max: 3 }),
      fc.integer({ min: 1, max: 6 }),
      async (counts, batch, bucket) => {
        const length = counts.reduce((a, b) => a + b)
        const store = await KeyValueStore.create(engine, TENSORS, { rows: batch, positions: length, bucket })
        let next = 1
        const expected: number[][] = Array.from({ length: batch }, () => [])
        for (const count of counts) {
          const values = expected.map(() => Array.from({ length: count }, () => next++))
          for (const [row, list] of values.entries()) expected[row].push(...list)
          await append(store, values)
        }
        expect(store.length).toBe(length)
        expect(store.capacity).toBe(Math.ceil(length / bucket) * bucket)
        const unused = Array(store.capacity - length).fill(0)
        expect(await rows(store)).toEqual(expected.map(row => [...row, ...unused]))
        await store.free()
      },
    ),
    { numRuns: 25 },
  )
})

it('is filled with rows of others, wherever they stood', async () => {
  await using made = await tools()
  const { engine, append, rows } = made
  const create = (count: number, positions: number) =>
    KeyValueStore.create(engine, TENSORS, { rows: count, positions, bucket: 2 })
  const [first, second, both] = [await create(2, 4), await create(1, 3), await create(3, 5)]
  await append(first, [
    [1, 2, 3, 4],
    [5, 6, 7, 8],
  ]) // prettier-ignore
  await append(second, [[11, 12, 13]])
  await both.fill([
    [{ store: first, row: 1, from: 1, to: 2, count: 3 }],
    [
      { store: second, row: 0, from: 0, to: 0, count: 1 },
      { store: second, row: 0, from: 1, to: 3, count: 2 },
    ],
    [{ store: first, row: 0, from: 0, to: 1, count: 4 }],
  ])
  expect(both.length).toBe(5)
  expect(await rows(both)).toEqual([
    [0, 0, 6, 7, 8, 0],
    [11, 0, 0, 12, 13, 0],
    [0, 1, 2, 3, 4, 0],
  ])
  for (const store of [first, second, both]) await store.free()
})
