/** @file Constant inputs: what the engine's thread has is not sent again, and results are as if it were. */
import { describe, expect, it } from 'vitest'
import * as g from '../graph/index.ts'
import { Engine, NodeBackend, type TensorData } from './index.ts'
import { KeptFeeds } from './node/kept-feeds.ts'
import { numbers } from './testing/run.ts'

const constant = (...values: number[]): TensorData => ({
  dtype: 'float32',
  dims: [values.length],
  data: Float32Array.from(values),
  isConstant: true,
})

/** The sum of two vectors of any length, and another computation of the same engine. */
async function compiled() {
  const engine = new Engine(new NodeBackend())
  const graph = new g.Graph()
  const [x, y] = ['x', 'y'].map(name => graph.input(name, 'float32', ['n']))
  const sum = await engine.compile({ sum: g.add(x, y) })
  const product = await engine.compile({ product: g.mul(x, y) })
  return {
    sum: async (x: TensorData, y: TensorData) => numbers((await sum.run({ x, y })).sum),
    product: async (x: TensorData, y: TensorData) => numbers((await product.run({ x, y })).product),
    executable: sum,
    [Symbol.asyncDispose]: () => engine.dispose(),
  }
}

describe('constant inputs', () => {
  it('are sent when they are new to an input, by their array and dimensions', () => {
    const kept = new KeptFeeds()
    const [one, two] = [constant(1, 2), constant(3, 4)]
    const isSent = (feeds: Record<string, TensorData>) => Object.values(kept.toSend(feeds)).map(feed => 'data' in feed)
    expect(isSent({ x: one, y: two })).toEqual([true, true])
    expect(isSent({ x: one, y: two })).toEqual([false, false])
    expect(isSent({ x: two, y: { ...two } })).toEqual([true, false])
    expect(isSent({ x: one, y: { ...two, dims: [2, 1] } })).toEqual([true, true])
    expect(isSent({ x: { ...one, isConstant: false } })).toEqual([true])
    kept.forget()
    expect(isSent({ y: { ...two, dims: [2, 1] } })).toEqual([true])
  })

  it('give what they would give if they were sent', async () => {
    await using runs = await compiled()
    const [one, two, three] = [constant(1, 2), constant(10, 20), constant(100, 200)]
    expect(await runs.sum(one, two)).toEqual([11, 22])
    expect(await runs.sum(one, two)).toEqual([11, 22])
    expect(await runs.sum(one, three)).toEqual([101, 202])
    expect(await runs.sum(two, three)).toEqual([110, 220])
    expect(await runs.sum(one, two)).toEqual([11, 22])
    expect(await runs.product(one, two)).toEqual([10, 40])
    const results = await Promise.all([
      runs.sum(one, two),
      runs.sum(three, two),
      runs.sum(three, two),
      runs.product(three, two),
    ])
    expect(results).toEqual([
      [11, 22],
      [110, 220],
      [110, 220],
      [1000, 4000],
    ])
  })

  it('are no others: an array that may be written is read at each run', async () => {
    await using runs = await compiled()
    const [one, two] = [{ ...constant(1, 2), isConstant: false }, constant(10, 20)]
    expect(await runs.sum(one, two)).toEqual([11, 22])
    ;(one.data as Float32Array).fill(5)
    expect(await runs.sum(one, two)).toEqual([15, 25])
  })

  it('are sent again after a run that failed', async () => {
    await using runs = await compiled()
    const [one, two] = [constant(1, 2), constant(10, 20)]
    await runs.sum(one, two)
    const detached = constant(7, 7)
    structuredClone(detached.data, { transfer: [detached.data.buffer as ArrayBuffer] })
    await expect(runs.sum(constant(3, 4), detached)).rejects.toThrow()
    expect(await runs.sum(one, two)).toEqual([11, 22])
    const three = constant(3, 4)
    expect(await runs.sum(three, two)).toEqual([13, 24])
  })
})
