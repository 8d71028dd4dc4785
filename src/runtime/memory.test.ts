/** @file Memory that stays with the engine: outputs are written into it, it is copied, fed and freed. */
import { describe, expect, it } from 'vitest'
import * as g from '../graph/index.ts'
import { Engine, NodeBackend, type ResidentTensor, tensorData } from './index.ts'
import { numbers } from './testing/run.ts'

async function compiled() {
  const engine = new Engine(new NodeBackend())
  const graph = new g.Graph()
  const [x, y] = ['x', 'y'].map(name => graph.input(name, 'float32', ['n', 2]))
  const executable = await engine.compile({ sum: g.add(x, y), product: g.mul(x, y) })
  return { engine, executable, [Symbol.asyncDispose]: () => engine.dispose() }
}

const pairs = (...values: number[]) => tensorData('float32', Float32Array.from(values), [values.length / 2, 2])

describe('memory of an engine', () => {
  it('holds zeros, takes outputs in blocks, and is fed as it is', async () => {
    await using made = await compiled()
    const { engine, executable } = made
    const [memory] = await engine.allocate([6])
    const resident: ResidentTensor = { dtype: 'float32', dims: [3, 2], memory }
    const ones = pairs(1, 1, 1, 1, 1, 1)
    expect(numbers((await executable.run({ x: resident, y: ones })).sum)).toEqual([1, 1, 1, 1, 1, 1])
    const blocks = { count: 2, size: 1, fromOffset: 1, fromStride: 2, toOffset: 0, toStride: 3 }
    const results = await executable.run(
      { x: pairs(1, 2, 3, 4), y: pairs(10, 20, 30, 40) },
      { store: { sum: [{ to: memory, ...blocks }] } },
    )
    expect(Object.keys(results)).toEqual(['product'])
    expect(numbers((await executable.run({ x: resident, y: ones })).product)).toEqual([22, 0, 0, 44, 0, 0])
  })

  it('is copied in order, behind the runs that were asked for before', async () => {
    await using made = await compiled()
    const { engine, executable } = made
    const [from, to] = await engine.allocate([2, 4])
    const whole = { count: 1, size: 2, fromOffset: 0, fromStride: 0, toOffset: 0, toStride: 0 }
    const run = executable.run({ x: pairs(1, 2), y: pairs(3, 4) }, { store: { sum: [{ to: from, ...whole }] } })
    const copied = engine.copy([
      { from, to, ...whole, toOffset: 2 },
      { from: to, to, ...whole, size: 1, fromOffset: 3 },
    ])
    await Promise.all([run, copied])
    const resident: ResidentTensor = { dtype: 'float32', dims: [2, 2], memory: to }
    expect(numbers((await executable.run({ x: resident, y: pairs(0, 0, 0, 0) })).sum)).toEqual([6, 0, 4, 6])
  })

  it('must have the size of the input, and be there still', async () => {
    await using made = await compiled()
    const { engine, executable } = made
    const [memory] = await engine.allocate([4])
    const feeds = (dims: number[]) => ({ x: { dtype: 'float32' as const, dims, memory }, y: pairs(0, 0, 0, 0) })
    await expect(executable.run(feeds([3, 2]))).rejects.toThrow(/"x" of shape \[3, 2\] takes 6 values.* holds 4/)
    await engine.free([memory])
    await expect(executable.run(feeds([2, 2]))).rejects.toThrow(/kept between runs are gone/)
  })
})
