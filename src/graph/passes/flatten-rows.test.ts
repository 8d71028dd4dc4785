/** @file Rows kept as matrices between dense layers, and vectors cut in one go: fewer nodes, the same numbers. */
import { describe, expect, it } from 'vitest'
import { evaluate, Feeder, numbers } from '../../runtime/testing/run.ts'
import * as g from '../index.ts'
import { flattenRows } from './flatten-rows.ts'
import { splitVectors } from './split-vectors.ts'

const opsOf = (outputs: readonly g.Tensor[]) => g.reachableNodes(outputs).map(node => node.op)
const count = (outputs: readonly g.Tensor[], op: string) => opsOf(outputs).filter(other => other === op).length

describe('flattenRows', () => {
  it('leaves one reshape in front of a row of layers and one behind it', async () => {
    const feeder = new Feeder({ batch: 2, n: 3 })
    const x = feeder.random('x', ['batch', 'n', 4])
    const [a, b] = [feeder.random('a', [6, 4]), feeder.random('b', [4, 6])]
    const [scale, shift] = [feeder.random('scale', [4]), feeder.random('shift', [])]
    const inner = g.mul(g.linear(x, a), g.silu(g.linear(x, a)))
    const y = g.layerNorm(g.add(g.mul(g.linear(inner, b), shift), g.add(g.linear(inner, b), scale)), scale, scale, 1e-5)
    const [flat] = flattenRows([y]).outputs
    expect(count([flat], 'Reshape')).toBe(2)
    expect(flat.shape).toEqual(['batch', 'n', 4])
    const plain = await evaluate({ y }, feeder.feeds)
    expect(plain.y.dims).toEqual([2, 3, 4])
    // Lowering flattens too; a graph whose rows are folded by hand is the other way to the same bits.
    const rows = g.reshape(x, ['batch*n', 4])
    const hidden = g.mul(g.linear(rows, a), g.silu(g.linear(rows, a)))
    const sum = g.add(g.mul(g.linear(hidden, b), shift), g.add(g.linear(hidden, b), scale))
    const byHand = g.reshape(g.layerNorm(sum, scale, scale, 1e-5), ['batch', 'n', 4])
    expect(numbers((await evaluate({ byHand }, feeder.feeds)).byHand)).toEqual(numbers(plain.y))
  })

  it('merges reshapes, and takes away those that change nothing', () => {
    const x = new g.Graph().input('x', 'float32', ['batch', 6])
    const turned = g.reshape(g.reshape(x, ['batch', 2, 3]), ['batch', 3, 2])
    const [merged] = flattenRows([turned]).outputs
    expect(opsOf([merged])).toEqual(['Input', 'Reshape'])
    expect(opsOf(flattenRows([g.reshape(turned, ['batch', 6])]).outputs)).toEqual(['Input'])
  })

  it('keeps what is broadcast over rows as it is', async () => {
    const feeder = new Feeder({ batch: 2, n: 3 })
    const x = feeder.random('x', ['batch', 'n', 4])
    const y = g.add(g.linear(x, feeder.random('w', [4, 4])), feeder.random('perBatch', ['batch', 1, 4]))
    const outputs = flattenRows([y]).outputs
    expect(count(outputs, 'Add')).toBe(1)
    expect(g.reachableNodes(outputs).find(node => node.op === 'Add')!.outputs[0].rank).toBe(3)
    expect((await evaluate({ y }, feeder.feeds)).y.dims).toEqual([2, 3, 4])
  })
})

describe('splitVectors', () => {
  const cut = (x: g.Tensor, bounds: readonly (readonly [number, number])[]) =>
    bounds.map(([start, end]) => g.reshape(g.slice(x, 0, start, end), [end - start, 1]))
  const whole = [
    [0, 2],
    [2, 3],
    [3, 7],
    [7, 9],
  ] as const // prettier-ignore

  it('cuts a vector that is read in parts once, in whatever order they are read', async () => {
    const feeder = new Feeder()
    const x = feeder.values('x', 'float32', [1, 2, 3, 4, 5, 6, 7, 8, 9])
    const parts = cut(x, [whole[2], whole[0], whole[3], whole[1], whole[0]])
    const split = splitVectors(parts).outputs
    expect(opsOf(split)).not.toContain('Slice')
    expect(count(split, 'Split')).toBe(1)
    const found = await evaluate(Object.fromEntries(parts.map((part, i) => [`part${i}`, part])), feeder.feeds)
    expect(Object.values(found).map(numbers)).toEqual([[4, 5, 6, 7], [1, 2], [8, 9], [3], [1, 2]])
  })

  it('cuts the front of a vector whose length is not known', async () => {
    const feeder = new Feeder({ n: 12 })
    const x = feeder.random('x', ['n'])
    const parts = cut(x, whole)
    expect(count(splitVectors(parts).outputs, 'Split')).toBe(1)
    const found = await evaluate(Object.fromEntries(parts.map((part, i) => [`part${i}`, part])), feeder.feeds)
    expect(Object.values(found).flatMap(numbers)).toEqual(numbers(feeder.feeds.x).slice(0, 9))
  })

  it('leaves parts alone that overlap, leave gaps, are few, or depend on the data', () => {
    const graph = new g.Graph()
    const x = graph.input('x', 'float32', [9])
    const leaves = (bounds: readonly (readonly [number, number])[]) =>
      expect(opsOf(splitVectors(cut(x, bounds)).outputs)).not.toContain('Split')
    const overlap = [0, 2, 2, 4, 3, 7, 7, 9]
    const gap = [0, 2, 3, 4, 4, 7, 7, 9]
    for (const bounds of [overlap, gap, [0, 5, 5, 9]]) {
      leaves(Array.from({ length: bounds.length / 2 }, (_, i) => [bounds[2 * i], bounds[2 * i + 1]] as const))
    }
    const open = graph.input('y', 'float32', ['n'])
    const parts = [...cut(open, whole.slice(0, 3)), g.slice(open, 0, 7, 'n')]
    expect(opsOf(splitVectors(parts).outputs)).not.toContain('Split')
  })
})
