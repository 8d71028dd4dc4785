/** @file Every operator: the types it infers, the shapes it refuses, and what it computes for inferred shapes. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type TensorData, tensorData } from '../runtime/index.ts'
import { evaluate, Feeder, randomData } from '../runtime/testing/run.ts'
import * as g from './index.ts'
import { buildCase, OPERATOR_CASES } from './testing/operator-cases.ts'

describe('the operators', () => {
  it('all have a case below', () => {
    const cased = new Set(OPERATOR_CASES.map(test => test.op))
    expect(g.operatorNames().filter(op => !cased.has(op))).toEqual([])
  })

  const results = OPERATOR_CASES.filter(test => test.gives !== undefined)
  it.each(results.map(test => [test.op, test.gives, test] as const))('%s gives %s', (op, type, test) => {
    const output = buildCase(test, new g.Graph())
    expect(String(output)).toBe(type)
    expect(g.reachableNodes([output]).map(node => node.op)).toContain(op)
  })

  const refusals = OPERATOR_CASES.filter(test => test.refuses !== undefined)
  it.each(refusals.map(test => [test.op, test.refuses!, test] as const))('%s refuses: %s', (_, message, test) => {
    const graph = new g.Graph()
    expect(() => buildCase(test, graph)).toThrow(message)
  })

  it('refuse operators that nobody defined', () => {
    expect(() => new g.Graph().add('Convolve', [])).toThrow('The operator "Convolve" is not known')
  })

  it('refuse to mix graphs', () => {
    const [a, b] = [new g.Graph(), new g.Graph()].map(graph => graph.input('x', 'float32', [2]))
    expect(() => g.add(a, b)).toThrow('Add: a tensor of another graph was given')
  })

  it('need a graph when they get no tensor', () => {
    expect(() => g.exp(1)).toThrow('No graph is being traced')
    expect(String(new g.Graph().trace(() => g.add(1, 2)))).toBe('float32[]')
  })
})

const SIZES = { batch: 2, n: 3, half: 2, width: 4, past: 2, now: 3, m: 2, rows: 4 }

describe('inferred shapes are those of the run', () => {
  const runnable = OPERATOR_CASES.filter(
    ({ gives, op }) => gives !== undefined && op !== 'Weight' && op !== 'DropoutMask',
  )
  it.each(runnable.map(test => [test.op, test.gives, test] as const))('%s: %s', async (_, __, test) => {
    const graph = new g.Graph()
    const output = buildCase(test, graph)
    // The names that stand only in attributes need an axis somewhere.
    for (const name of Object.keys(SIZES)) graph.input(`spare.${name}`, 'float32', [name])
    const feeds: Record<string, TensorData> = {}
    for (const [name, { dtype, shape }] of graph.inputs) {
      const dims = shape.map(dim => g.evaluateDim(dim, SIZES))
      const size = dims.reduce((a, b) => a * b, 1)
      const ones = Array.from({ length: size }, (_, i) => i % 2)
      feeds[name] = dtype === 'float32' ? randomData(dims, 1, 0.5, 1.5) : tensorData(dtype, ones, dims)
    }
    const result = (await evaluate({ output }, feeds)).output
    expect(result.dtype).toBe(output.dtype)
    expect(result.dims).toEqual(output.shape.map(dim => g.evaluateDim(dim, SIZES)))
  })

  it('for random graphs', async () => {
    const step = fc.record({
      kind: fc.constantFrom(
        ...[
          'add',
          'row',
          'sum',
          'keep',
          'transpose',
          'concat',
          'slice',
          'reshape',
          'matmul',
          'pad',
          'expand',
          'gather',
        ],
      ),
      axis: fc.nat({ max: 7 }),
    })
    const bindings = fc.record({ batch: fc.integer({ min: 1, max: 3 }), n: fc.integer({ min: 1, max: 3 }) })
    const apply = (x: g.Tensor, kind: string, pick: number, other: g.Tensor): g.Tensor => {
      const axis = x.rank ? pick % x.rank : 0
      const rotated = x.shape.map((_, i) => (i + pick) % x.rank)
      if (kind === 'add') return g.add(x, g.mean(x, [axis].slice(0, x.rank), true))
      if (kind === 'row') return x.rank < 4 ? g.add(g.unsqueeze(x, [pick % (x.rank + 1)]), 1) : x
      if (kind === 'expand') return x.rank < 4 ? g.expand(x, ['n', ...x.shape]) : x
      if (x.rank === 0) return g.reshape(x, [1])
      if (kind === 'sum') return g.sum(x, [axis])
      if (kind === 'keep') return g.max(x, [axis], true)
      if (kind === 'transpose') return g.transpose(x, rotated)
      if (kind === 'concat') return g.sizeOf(x.shape).toString().length < 40 ? g.concat([x, x], axis) : x
      if (kind === 'slice') return typeof x.shape[axis] === 'number' ? g.slice(x, axis, 0, 1) : x
      if (kind === 'reshape') return g.reshape(x, [...x.shape.slice(0, axis), -1])
      if (kind === 'matmul') return x.rank < 2 ? x : g.matmul(x, x, { transB: true })
      if (kind === 'pad') return g.pad(x, axis, 1, 0)
      return x.rank < 4 ? g.gather(x, other, axis) : x
    }
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 2, maxLength: 7 }), bindings, async (steps, sizes) => {
        const feeder = new Feeder(sizes)
        let x = feeder.random('x', ['batch', 'n', 2])
        const ids = feeder.values('ids', 'int64', new BigInt64Array(sizes.n), ['n'])
        for (const { kind, axis } of steps) x = apply(x, kind, axis, ids)
        const expected = x.shape.map(dim => g.evaluateDim(dim, sizes))
        fc.pre(expected.reduce((a, b) => a * b, 1) < 1e5)
        const { output } = await evaluate({ output: x }, feeder.feeds)
        expect(output.dims).toEqual(expected)
      }),
      { numRuns: 60 },
    )
  })
})
