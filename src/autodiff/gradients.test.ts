/** @file What `gradients` promises beyond single rules: sharing, cuts, zeros, errors, losses and symbolic shapes. */
import { describe, expect, it } from 'vitest'
import * as g from '../graph/index.ts'
import { defaultEngine, floats, tensorData } from '../runtime/index.ts'
import { evaluate, Feeder, largestDifference, numbers, randomData } from '../runtime/testing/run.ts'
import { gradients } from './index.ts'
import { float, gradientErrors } from './testing/finite-differences.ts'

describe('how gradients add up', () => {
  it('sums over all uses of a tensor', async () => {
    const cases = [
      { name: 'x * x', build: (x: g.Tensor) => g.mul(x, x) },
      { name: 'a diamond', build: (x: g.Tensor) => g.add(g.exp(x), g.mul(g.exp(x), g.sin(x))) },
      { name: 'x with itself', build: (x: g.Tensor) => g.matmul(x, x, { transB: true }) },
      { name: 'x as both operands', build: (x: g.Tensor) => g.linear(x, x) },
    ]
    for (const test of cases) {
      for (const { error } of await gradientErrors({ ...test, inputs: [float(3, 3)] })) {
        expect(error, test.name).toBeLessThan(2e-3)
      }
    }
  })

  it('passes nothing through stopGradient', async () => {
    const feeder = new Feeder()
    const x = feeder.random('x', [4])
    const loss = g.sum(g.mul(x, g.stopGradient(g.mul(x, 3))))
    const [gradient] = gradients(loss, [x])
    const { gradient: found } = await evaluate({ gradient }, feeder.feeds)
    const expected = numbers(feeder.feeds.x).map(value => 3 * value)
    expect(largestDifference(numbers(found), expected)).toBeLessThan(1e-6)
  })

  it('passes nothing through steps and comparisons, which need no rule', async () => {
    const feeder = new Feeder()
    const x = feeder.random('x', [4])
    const gates = g.add(g.cast(g.greater(x, 0), 'float32'), g.add(g.sign(x), g.floor(x)))
    const [gradient] = gradients(g.sum(gates), [x])
    expect(numbers((await evaluate({ gradient }, feeder.feeds)).gradient)).toEqual([0, 0, 0, 0])
  })

  it('gives zeros of the right shape where the loss does not depend on a tensor', async () => {
    const feeder = new Feeder({ batch: 2 })
    const x = feeder.random('x', ['batch', 2])
    const other = feeder.random('other', ['batch', 3])
    const [dx, zero] = gradients(g.sum(x), [x, other])
    expect(zero.shape).toEqual(['batch', 3])
    const found = await evaluate({ dx, zero }, feeder.feeds)
    expect(numbers(found.dx)).toEqual([1, 1, 1, 1])
    expect(numbers(found.zero)).toEqual([0, 0, 0, 0, 0, 0])
  })

  it('differentiates by values in the middle of a graph, and by the loss itself', async () => {
    const feeder = new Feeder()
    const x = feeder.random('x', [3])
    const middle = g.exp(x)
    const loss = g.sum(g.mul(middle, middle))
    const [dx, dMiddle, dLoss] = gradients(loss, [x, middle, loss])
    const found = await evaluate({ dx, dMiddle, dLoss }, feeder.feeds)
    const e = numbers(feeder.feeds.x).map(Math.exp)
    const twice = e.map(value => 2 * value)
    expect(largestDifference(numbers(found.dMiddle), twice)).toBeLessThan(1e-5)
    const chained = e.map(value => 2 * value * value)
    expect(largestDifference(numbers(found.dx), chained)).toBeLessThan(1e-4)
    expect(numbers(found.dLoss)).toEqual([1])
  })

  it('reports each gradient once, as soon as it stands, at every position of the tensor', () => {
    const graph = new g.Graph()
    const [a, b] = ['a', 'b'].map(name => graph.input(name, 'float32', [2]))
    const seen: number[] = []
    const loss = g.sum(g.mul(g.exp(g.add(a, 1)), b))
    const found = gradients(loss, [a, b, a], (gradient, index) => {
      expect(gradient.shape).toEqual([2])
      seen.push(index)
    })
    expect(seen.sort()).toEqual([0, 1, 2])
    expect(found[0]).toBe(found[2])
  })
})

describe('what gradients refuses', () => {
  const graph = new g.Graph()
  const x = graph.input('x', 'float32', ['batch', 3])

  it('a loss that is not a scalar', () => {
    expect(() => gradients(g.exp(x), [x])).toThrow(
      'the loss must be a scalar, got float32[batch, 3]; reduce it by sum or mean',
    )
  })

  it('a path through an operator without a rule', () => {
    const [loss] = graph.add('CrossEntropyGrad', [x, graph.input('labels', 'int64', ['batch']), g.sum(x, [1])], {})
    expect(() => gradients(g.sum(loss), [x])).toThrow(/CrossEntropyGrad\(.*\) has no gradient rule.*stopGradient/)
  })

  it('tensors of another graph, and integers', () => {
    const stranger = new g.Graph().input('stranger', 'float32', [2])
    expect(() => gradients(g.sum(x), [stranger])).toThrow('float32[2] belongs to another graph than the loss')
    const ids = graph.input('ids', 'int64', [2])
    expect(() => gradients(g.sum(x), [ids])).toThrow('int64[2] holds no floating-point numbers')
  })
})

describe('max with ties', () => {
  it('shares the gradient equally between the largest', async () => {
    const feeder = new Feeder()
    const x = feeder.values('x', 'float32', [
      [1, 5, 5],
      [7, 7, 7],
    ])
    const [byRow] = gradients(g.sum(g.max(x, [1])), [x])
    const found = await evaluate({ byRow }, feeder.feeds)
    const third = Math.fround(1 / 3)
    expect(numbers(found.byRow)).toEqual([0, 0.5, 0.5, third, third, third])
  })

  it('gives each of two equal operands half', async () => {
    const feeder = new Feeder()
    const a = feeder.values('a', 'float32', [1, 2, 3])
    const b = feeder.values('b', 'float32', [2, 2, 2])
    const [upperA, upperB] = gradients(g.sum(g.maximum(a, b)), [a, b])
    const [lowerA, lowerB] = gradients(g.sum(g.minimum(a, b)), [a, b])
    const found = await evaluate({ upperA, upperB, lowerA, lowerB }, feeder.feeds)
    expect(numbers(found.upperA)).toEqual([0, 0.5, 1])
    expect(numbers(found.upperB)).toEqual([1, 0.5, 0])
    expect(numbers(found.lowerA)).toEqual([1, 0.5, 0])
    expect(numbers(found.lowerB)).toEqual([0, 0.5, 1])
  })
})

describe('cross-entropy', () => {
  const naive = (rows: number[][], labels: number[]) =>
    rows.map((row, i) => {
      const most = Math.max(...row)
      return Math.log(row.reduce((total, z) => total + Math.exp(z - most), 0)) + most - row[labels[i]]
    })

  it('equals the definition', async () => {
    const feeder = new Feeder()
    const rows = [
      [0.3, -1, 2],
      [4, 0.5, 1],
    ]
    const logits = feeder.values('logits', 'float32', rows)
    const labels = feeder.values('labels', 'int64', [2, 1])
    const losses = g.crossEntropy(logits, labels, { reduction: 'none' })
    const found = await evaluate({ losses, mean: g.crossEntropy(logits, labels) }, feeder.feeds)
    const expected = naive(rows, [2, 1])
    expect(largestDifference(numbers(found.losses), expected)).toBeLessThan(1e-6)
    expect(numbers(found.mean)[0]).toBeCloseTo((expected[0] + expected[1]) / 2, 5)
  })

  it('is 0 with zero gradients when every row is ignored', async () => {
    const feeder = new Feeder()
    const logits = feeder.random('logits', [2, 3])
    const labels = feeder.values('labels', 'int64', [-100, -100])
    const loss = g.crossEntropy(logits, labels)
    const [gradient] = gradients(loss, [logits])
    const found = await evaluate({ loss, gradient }, feeder.feeds)
    expect(numbers(found.loss)).toEqual([0])
    expect(numbers(found.gradient).map(Math.abs)).toEqual([0, 0, 0, 0, 0, 0])
  })

  it('stays finite for huge logits, right or wrong', async () => {
    const feeder = new Feeder()
    const logits = feeder.values('logits', 'float32', [
      [1e4, -1e4, 0],
      [1e4, -1e4, 0],
      [1e4, 1e4, 1e4],
    ])
    const labels = feeder.values('labels', 'int64', [0, 1, 2])
    const losses = g.crossEntropy(logits, labels, { reduction: 'none' })
    const [gradient] = gradients(g.sum(losses), [logits])
    const found = await evaluate({ losses, gradient }, feeder.feeds)
    const third = 1 / 3
    expect(largestDifference(numbers(found.losses), [0, 2e4, Math.log(3)])).toBeLessThan(1e-3)
    const expected = [0, 0, 0, 1, -1, 0, third, third, third - 1]
    expect(largestDifference(numbers(found.gradient), expected)).toBeLessThan(1e-6)
  })

  it.each([
    ['rows', [6] as g.Dim[]],
    ['batch and sequence', ['batch', 'sequence'] as g.Dim[]],
  ])('has a fused gradient below a frozen vocabulary that equals the plain one: %s', async (_, leading) => {
    const feeder = new Feeder({ batch: 2, sequence: 3 })
    const hidden = feeder.random('hidden', [...leading, 4])
    const weight = feeder.random('weight', [5, 4])
    const ids =
      leading.length === 1
        ? [0, 4, -100, 2, 2, 1]
        : [
            [0, 4, -100],
            [2, 2, 1],
          ] // prettier-ignore
    const labels = feeder.values('labels', 'int64', ids, leading)
    const loss = g.crossEntropy(g.linear(hidden, weight), labels)
    const [fused] = gradients(loss, [hidden])
    const [plain] = gradients(loss, [hidden, weight])
    const operators = (tensor: g.Tensor) => g.reachableNodes([tensor]).map(node => node.op)
    expect(operators(fused)).not.toContain('CrossEntropyGrad')
    expect(operators(plain)).toContain('CrossEntropyGrad')
    const found = await evaluate({ fused, plain }, feeder.feeds)
    expect(largestDifference(floats(found.fused), floats(found.plain))).toBeLessThan(1e-6)
    expect(Math.max(...floats(found.plain))).toBeGreaterThan(0.01)
  })

  it('does not use the fused gradient where a reshape changes what a row of logits is', async () => {
    const feeder = new Feeder()
    const hidden = feeder.random('hidden', [2, 3])
    const weight = feeder.random('weight', [6, 3])
    const labels = feeder.values('labels', 'int64', [0, 1, 2, 1])
    const loss = g.crossEntropy(g.reshape(g.linear(hidden, weight), [4, 3]), labels)
    const [alone] = gradients(loss, [hidden])
    const [together] = gradients(loss, [hidden, weight])
    const found = await evaluate({ alone, together }, feeder.feeds)
    expect(largestDifference(floats(found.alone), floats(found.together))).toBeLessThan(1e-6)
  })
})

describe('symbolic shapes', () => {
  it('serve several sizes with one executable', async () => {
    const graph = new g.Graph()
    const x = graph.input('x', 'float32', ['batch', 'sequence', 4])
    const weight = graph.input('weight', 'float32', [6, 4])
    const labels = graph.input('labels', 'int64', ['batch', 'sequence'])
    const hidden = g.gelu(g.linear(x, weight))
    const scores = g.softmax(g.matmul(hidden, hidden, { transB: true }), -1)
    const mixed = g.add(g.matmul(scores, hidden), g.mean(hidden, [1], true))
    const loss = g.crossEntropy(mixed, labels)
    const [dx, dWeight] = gradients(loss, [x, weight])
    const engine = await defaultEngine()
    await using executable = await engine.compile({ loss, dx, dWeight })
    const weights = randomData([6, 4], 3)
    for (const [batch, sequence] of [
      [2, 3],
      [1, 5],
      [3, 1],
    ]) {
      const values = randomData([batch, sequence, 4], 5)
      const ids = tensorData(
        'int64',
        Array.from({ length: batch * sequence }, (_, i) => i % 6),
        [batch, sequence],
      )
      const run = (data: Float32Array) => executable.run({ x: { ...values, data }, weight: weights, labels: ids })
      const found = await run(values.data)
      expect(found.dx.dims).toEqual([batch, sequence, 4])
      const step = 1e-2
      const moved = async (by: number) => {
        const data = values.data.slice()
        data[data.length - 1] += by
        return numbers((await run(data)).loss)[0]
      }
      const expected = ((await moved(step)) - (await moved(-step))) / (2 * step)
      expect(numbers(found.dx).at(-1)).toBeCloseTo(expected, 3)
    }
  })

  it('work with no rows at all', async () => {
    const feeder = new Feeder({ batch: 0 })
    const x = feeder.random('x', ['batch', 3, 4])
    const weight = feeder.random('weight', [2, 4])
    const loss = g.sum(g.reshape(g.linear(x, weight), ['batch', 6]))
    const [dx, dWeight] = gradients(loss, [x, weight])
    const found = await evaluate({ loss, dx, dWeight }, feeder.feeds)
    expect(numbers(found.loss)).toEqual([0])
    expect(found.dx.dims).toEqual([0, 3, 4])
    expect(numbers(found.dWeight)).toEqual([0, 0, 0, 0, 0, 0, 0, 0])
  })

  it('give the gradient of a look-up in an empty table', async () => {
    const feeder = new Feeder()
    const table = feeder.random('table', [0, 2])
    const ids = feeder.values('ids', 'int64', [], [0])
    const [gradient] = gradients(g.sum(g.gather(table, ids)), [table])
    expect((await evaluate({ gradient }, feeder.feeds)).gradient.dims).toEqual([0, 2])
  })
})
