/** @file T5's distances: their classes, and which distance a query and a key have behind a cache or a prefix. */
import { afterAll, describe, expect, it } from 'vitest'
import { cast, Graph, type Tensor, unsqueeze } from '../../graph/index.ts'
import { Engine, floats, NodeBackend, type TensorData, tensorData } from '../../runtime/index.ts'
import { distanceBuckets, RelativeBias } from './relative-bias.ts'

const engine = new Engine(new NodeBackend())
afterAll(() => engine.dispose())

const SMALL = { bidirectional: false, buckets: 8, maxDistance: 20 }
const classOf = (distance: number, options = SMALL) => distanceBuckets(options)[options.maxDistance + distance]

/** A table in which each class has its own number as the only bias. */
const numbers = { forward: (buckets: Tensor) => unsqueeze(cast(buckets, 'float32'), [3]) }

/** The classes `[queries][keys]` of the first row of the batch. */
async function classes(positions: TensorData, past: number, prefix: number, options = SMALL): Promise<number[][]> {
  const graph = new Graph()
  const bias = new RelativeBias(graph.input('positions', 'int64', ['batch', 'queries']), 'past', options)
  bias.table = numbers
  const cache = graph.input('cache', 'float32', ['past'])
  const shared = bias.behind(prefix)
  expect(bias.behind(prefix)).toBe(shared)
  await using executable = await engine.compile({ bias: shared, length: cache }, {})
  const result = (await executable.run({ positions, cache: tensorData('float32', Array(past).fill(0)) })).bias
  const keys = result.dims[3]
  return Array.from({ length: result.dims[2] }, (_, i) => [...floats(result).subarray(i * keys, (i + 1) * keys)])
}

describe('distanceBuckets', () => {
  it('gives small distances a class each and lets larger ones share, as Transformers does', () => {
    const first = { bidirectional: true, buckets: 32, maxDistance: 128 }
    const at = (distance: number) => classOf(distance, first)
    expect([0, -1, -7, -8, -15, -16, -64, -127, -128].map(at)).toEqual([0, 1, 7, 8, 9, 10, 14, 15, 15])
    expect([1, 7, 8, 16, 127, 128].map(at)).toEqual([17, 23, 24, 26, 31, 31])
  })

  it('counts what a decoder cannot see as distance 0', () => {
    expect([1, 2, 20].map(distance => classOf(distance))).toEqual([0, 0, 0])
    expect([0, -1, -3, -4, -20].map(distance => classOf(distance))).toEqual([0, 1, 3, 4, 7])
  })
})

describe('RelativeBias', () => {
  it('counts distances from the positions of the queries, behind a cache with unused places too', async () => {
    const distances = (query: number, keys: number[]) => keys.map(key => classOf(key - query))
    const full = await classes(tensorData('int64', [[3, 4]]), 3, 0)
    expect(full).toEqual([distances(3, [0, 1, 2, 3, 4]), distances(4, [0, 1, 2, 3, 4])])
    const spacious = await classes(tensorData('int64', [[3]]), 6, 0)
    expect(spacious).toEqual([distances(3, [0, 1, 2, 3, 4, 5, 3])])
  })

  it('moves keys behind a prefix to the right and leaves the queries', async () => {
    const both = { ...SMALL, bidirectional: true }
    const result = await classes(tensorData('int64', [[0, 1]]), 0, 2, both)
    expect(result).toEqual([
      [0, 1, 2, 3].map(key => classOf(key, both)),
      [0, 1, 2, 3].map(key => classOf(key - 1, both)),
    ])
  })

  it('needs the table of the first layer', () => {
    const positions = new Graph().input('positions', 'int64', [1, 'queries'])
    expect(() => new RelativeBias(positions, 0, SMALL).behind(0)).toThrow(/before the first layer brought its table/)
  })
})
