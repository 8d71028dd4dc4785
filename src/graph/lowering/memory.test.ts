/** @file What is foretold of a model's memory: the order of its nodes, shared buffers, and the arena. */
import { describe, expect, it } from 'vitest'
import * as g from '../index.ts'
import { arenaBytes } from './arena.ts'

const MB = 2 ** 20
const plan = (outputs: Record<string, g.Tensor>, lengths = {}) => g.planMemory(g.lowerToOnnx(outputs), lengths)

describe('the order of execution', () => {
  it('is that of creation where all nodes are needed one after another', () => {
    const x = new g.Graph().input('x', 'float32', [2])
    const order = plan({ y: g.add(g.sin(g.exp(x)), g.cos(g.exp(x))) }).order
    expect(order.map(node => node.op)).toEqual(['Exp', 'Sin', 'Cos', 'Add', 'Identity'])
  })

  it('makes what is to come after something else wait for it', () => {
    const x = new g.Graph().input('x', 'float32', [2])
    const early = g.exp(x)
    const late = g.sin(x)
    const ops = (y: g.Tensor) => plan({ y }).order.map(node => node.op)
    expect(ops(g.add(early, 1))).not.toContain('Sin')
    const waits = ops(g.add(g.after(early, [late]), 1))
    expect(waits.indexOf('Sin')).toBeGreaterThan(-1)
    expect(waits.indexOf('Sin')).toBeLessThan(waits.indexOf('Add'))
  })
})

describe('the memory of intermediate values', () => {
  const x = () => new g.Graph().input('x', 'float32', ['n', 256])
  const bytes = 4 * 256 * 1000

  it('counts a value that is written over once', () => {
    expect(plan({ y: g.exp(g.neg(g.exp(x()))) }, { n: 1000 }).peak).toBe(2 * bytes)
  })

  it('counts what lives side by side', () => {
    const tensor = x()
    const parts = [g.exp(tensor), g.sin(tensor), g.cos(tensor)]
    const { peak, live } = plan({ y: g.concat(parts, 0) }, { n: 1000 })
    expect(peak).toBeGreaterThanOrEqual(6 * bytes)
    expect(live[0].bytes).toBe(3 * bytes)
  })

  it('follows lengths that the model works out itself', () => {
    const part = g.rowPart(x(), 0, { parts: 4, least: 10 })
    expect(plan({ y: g.sum(g.exp(part)) }, { n: 1000 }).peak).toBeGreaterThanOrEqual(bytes / 4)
    expect(plan({ y: g.sum(g.exp(part)) }, { n: 1000 }).peak).toBeLessThan(bytes)
  })
})

describe('the arena', () => {
  it('gives freed memory out again', () => {
    const one = { bytes: MB, first: 0, last: 1 }
    expect(arenaBytes([one, { bytes: MB, first: 2, last: 3 }])).toBe(MB)
    expect(arenaBytes([one, { bytes: MB, first: 1, last: 3 }])).toBe(2 * MB)
  })

  it('joins neighbours that are free for something larger', () => {
    const small = [0, 1, 2, 3].map(() => ({ bytes: MB / 4, first: 0, last: 1 }))
    expect(arenaBytes([...small, { bytes: MB, first: 2, last: 3 }])).toBe(MB)
  })

  it('needs more than what lives at once where holes do not fit', () => {
    const holes = Array.from({ length: 8 }, (_, i) => ({ bytes: MB, first: 0, last: i % 2 ? 1 : 5 }))
    expect(arenaBytes([...holes, { bytes: 3 * MB, first: 2, last: 3 }])).toBeGreaterThan(8 * MB)
    expect(arenaBytes([])).toBe(0)
  })
})
