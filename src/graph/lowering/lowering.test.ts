/** @file Lowering to ONNX: shapes at run time, names, shared and dead nodes, and both sets of kernels. */
import { afterAll, describe, expect, it } from 'vitest'
import { gradients } from '../../autodiff/index.ts'
import { defaultEngine, floats, tensorData } from '../../runtime/index.ts'
import { evaluate, Feeder, largestDifference, numbers, randomData, standardEngine } from '../../runtime/testing/run.ts'
import * as g from '../index.ts'

const nodesOf = (outputs: Record<string, g.Tensor>, options?: g.LoweringOptions) =>
  g.lowerToOnnx(outputs, options).model.graph.nodes
const countOf = (outputs: Record<string, g.Tensor>, op: string) =>
  nodesOf(outputs).filter(node => node.op === op).length

describe('reshape at run time', () => {
  const cases: { name: string; from: g.Shape; to: g.Shape }[] = [
    { name: 'numbers only', from: [2, 6], to: [3, 4] },
    { name: 'one symbolic length that stays', from: ['batch', 6], to: ['batch', 2, 3] },
    { name: 'one symbolic length that moves', from: ['batch', 2, 3], to: [6, 'batch'] },
    { name: 'a product split up', from: ['batch*n', 6], to: ['batch', 'n', 6] },
    { name: 'a product made', from: ['batch', 'n', 6], to: ['batch*n', 6] },
    { name: 'one stays, one moves', from: ['batch', 2, 'n', 3], to: ['batch', 3, '2*n'] },
    { name: 'two change places', from: ['batch', 'n'], to: ['n', 'batch'] },
    { name: 'a length of zero', from: [0, 'n', 3], to: ['n', 6, 0] },
    { name: 'a sum', from: ['batch', 2, 'n+past'], to: ['batch', 'n+past', 2] },
    { name: 'two sums', from: ['batch', 'n+past', 2, 'n+past'], to: ['batch', '2*n+2*past', 'n+past'] },
  ]
  const sizes = [
    { batch: 2, n: 3, past: 1 },
    { batch: 1, n: 1, past: 0 },
    { batch: 2, n: 0, past: 0 },
    { batch: 0, n: 2, past: 3 },
    { batch: 0, n: 0, past: 0 },
  ]
  it.each(cases.map(test => [test.name, test] as const))('%s', async (_, { from, to }) => {
    const graph = new g.Graph()
    const x = graph.input('x', 'float32', from)
    for (const name of ['batch', 'n', 'past']) graph.input(name, 'float32', [name])
    await using executable = await (await defaultEngine()).compile({ y: g.reshape(x, to) })
    for (const bindings of sizes) {
      const feeds = Object.fromEntries(
        [...graph.inputs].map(([name, { shape }]) => [
          name,
          randomData(
            shape.map(dim => g.evaluateDim(dim, bindings)),
            1,
          ),
        ]),
      )
      const { y } = await executable.run(feeds)
      expect(y.dims).toEqual(to.map(dim => g.evaluateDim(dim, bindings)))
      expect(y.data).toEqual(feeds.x.data)
    }
  })
})

describe('run-time lengths', () => {
  it('come from inputs that are read for their shape alone', async () => {
    const feeder = new Feeder({ batch: 3 })
    feeder.random('unread', ['batch', 2])
    const { y } = await evaluate({ y: g.add(g.zeros(feeder.graph, ['batch', 2]), 1) }, feeder.feeds)
    expect(y).toMatchObject({ dims: [3, 2] })
    expect(numbers(y)).toEqual([1, 1, 1, 1, 1, 1])
  })

  it('are a constant away from those that an input has', async () => {
    const feeder = new Feeder({ n: 3 })
    const x = feeder.random('x', ['2*n+1'])
    const { y } = await evaluate({ y: g.slice(x, 0, '2*n') }, feeder.feeds)
    expect(numbers(y)).toEqual([Number(feeder.feeds.x.data[6])])
  })

  it('are refused where no input has them', () => {
    const graph = new g.Graph()
    graph.input('x', 'float32', ['batch'])
    expect(() => g.lowerToOnnx({ y: g.zeros(graph, ['sequence']) })).toThrow(
      'The dimension "sequence" is not the length of an axis of any input',
    )
  })

  it('are computed once each', () => {
    const graph = new g.Graph()
    const x = graph.input('x', 'float32', ['batch', 'n', 4])
    const outputs = Object.fromEntries(
      [1, 2, 3].map(i => [`y${i}`, g.add(g.expand(graph.constant(i, 'float32'), ['batch', 'n', 4]), x)]),
    )
    expect(countOf(outputs, 'Shape')).toBe(2)
    expect(countOf(outputs, 'Concat')).toBe(1)
  })
})

describe('what is not written', () => {
  it('dead nodes and inputs that nothing reads', () => {
    const graph = new g.Graph()
    const [x, y] = ['x', 'y'].map(name => graph.input(name, 'float32', [2]))
    g.exp(g.mul(x, y))
    const lowered = g.lowerToOnnx({ out: g.neg(x) })
    expect(lowered.model.graph.nodes.map(node => node.op).sort()).toEqual(['Identity', 'Neg'])
    expect(lowered.inputs.map(input => input.name)).toEqual(['x'])
  })

  it('the same computation twice', async () => {
    const feeder = new Feeder()
    const x = feeder.random('x', [2])
    const twice = () => g.mul(g.exp(x), 2)
    const outputs = { a: twice(), b: twice(), c: g.add(twice(), twice()) }
    expect(countOf(outputs, 'Exp')).toBe(1)
    expect(countOf(outputs, 'Mul')).toBe(1)
    const found = await evaluate(outputs, feeder.feeds)
    expect(found.a.data).toEqual(found.b.data)
    expect(numbers(found.c)[0]).toBeCloseTo(2 * numbers(found.a)[0], 5)
  })

  it('the same constant or weight twice, while different ones stay apart', () => {
    const graph = new g.Graph()
    const x = graph.input('x', 'float32', [2])
    const weights = ['w', 'w'].map(name => ({ name, dtype: 'float32' as const, shape: [2] }))
    const sums = [...weights, weights[0]].map(weight => g.add(x, graph.weight(weight)))
    const lowered = g.lowerToOnnx({ a: sums[0], b: sums[1], c: sums[2] })
    expect(lowered.weights.map(({ weight }) => weight)).toEqual(weights)
    expect(new Set(lowered.weights.map(({ name }) => name)).size).toBe(2)
    expect(lowered.model.graph.nodes.filter(node => node.op === 'Add')).toHaveLength(2)
    const constants = g.lowerToOnnx({ a: g.add(x, 1), b: g.sub(x, 1), c: g.mul(x, 2) }).model.graph.initializers
    expect(constants).toHaveLength(2)
  })

  it('but infinities, NaN and both zeros are different constants', async () => {
    const feeder = new Feeder()
    const x = feeder.values('x', 'float32', [1])
    const constants = { up: Infinity, down: -Infinity, nothing: Number.NaN, zero: 0, minusZero: -0 }
    const outputs = Object.fromEntries(Object.entries(constants).map(([name, value]) => [name, g.mul(x, value)]))
    const found = await evaluate(outputs, feeder.feeds)
    for (const [name, value] of Object.entries(constants)) expect(found[name].data[0], name).toBe(value)
  })
})

describe('names', () => {
  it('of inputs, outputs and weights never clash with those made up', async () => {
    const feeder = new Feeder()
    const x = feeder.values('const_0', 'float32', [1, 2])
    const weight = { name: 'Neg_1', dtype: 'float32' as const, shape: [2] }
    const y = g.add(g.neg(g.add(x, 1)), feeder.graph.weight(weight))
    const lowered = g.lowerToOnnx({ Add_2: y, weight_3: g.exp(y) })
    const values = lowered.model.graph.nodes.flatMap(node => node.outputs)
    const all = [...values, ...lowered.weights.map(w => w.name), ...lowered.model.graph.initializers.map(t => t.name)]
    expect(new Set([...all, 'const_0']).size).toBe(all.length + 1)
    const { Add_2 } = await evaluate({ Add_2: g.neg(g.add(x, 1)) }, feeder.feeds)
    expect(numbers(Add_2)).toEqual([-2, -3])
  })

  it('cannot stand for an input and an output', () => {
    const x = new g.Graph().input('x', 'float32', [1])
    expect(() => g.lowerToOnnx({ x: g.neg(x) })).toThrow('"x" is the name of an input and of an output')
  })

  it('let one tensor be several outputs, an input among them', async () => {
    const feeder = new Feeder()
    const x = feeder.values('x', 'float32', [1, 2])
    const y = g.neg(x)
    const found = await evaluate({ a: y, b: y, same: x }, feeder.feeds)
    expect([found.a, found.b, found.same].map(numbers)).toEqual([
      [-1, -2],
      [-1, -2],
      [1, 2],
    ]) // prettier-ignore
  })

  it('of outputs must exist', () => {
    expect(() => g.lowerToOnnx({})).toThrow('no outputs were asked for')
  })
})

describe('standard operators', () => {
  const standard = standardEngine()
  afterAll(() => standard.dispose())

  it('give what the kernels of the CPU give, forward and backward', async () => {
    const feeder = new Feeder({ batch: 2, n: 3 })
    const x = feeder.random('x', ['batch', 'n', 4])
    const weight = feeder.random('weight', [4, 4])
    const scale = feeder.random('scale', [4])
    const labels = feeder.values('labels', 'int64', [0, 3, -100, 2, 2, 1], ['batch', 'n'])
    const hidden = g.layerNorm(g.gelu(g.linear(x, weight, scale)), scale, scale, 1e-5)
    const scores = g.matmul(hidden, g.silu(hidden), { transB: true, alpha: 0.5 })
    const turned = g.matmul(scores, hidden, { transA: true })
    const mixed = g.add(turned, g.rmsNorm(g.gelu(turned, 'tanh'), scale, 1e-6))
    const rows = g.slice(g.gather(g.pad(mixed, 1, 1, 0), g.range(feeder.graph, 'n'), 1), 1, 0, 'n')
    const loss = g.add(g.crossEntropy(rows, labels), g.mean(g.max(g.softmax(rows, 1), [2])))
    const [dx, dWeight, dScale] = gradients(loss, [x, weight, scale])
    const outputs = { loss, rows, dx, dWeight, dScale, best: g.argMax(rows, -1) }
    expect(nodesOf(outputs).map(node => node.op)).toContain('FusedMatMul')
    const plain = nodesOf(outputs, { target: 'standard' })
    expect(plain.filter(node => node.domain !== '')).toEqual([])
    const onCpu = await evaluate(outputs, feeder.feeds)
    const onStandard = await evaluate(outputs, feeder.feeds, {}, standard)
    for (const [name, expected] of Object.entries(onCpu)) {
      expect(onStandard[name].dims, name).toEqual(expected.dims)
      expect(largestDifference(numbers(onStandard[name]), numbers(expected)), name).toBeLessThan(1e-5)
    }
    expect(floats(onCpu.dx).some(value => Math.abs(value) > 1e-3)).toBe(true)
  })
})

describe('constants', () => {
  it.each(['float32', 'float64', 'int64', 'int32', 'bool', 'uint8'] as const)(
    'of %s arrive as they are',
    async dtype => {
      const graph = new g.Graph()
      const x = graph.input('x', dtype, [2])
      const c = graph.constant([1, 0], dtype)
      const { y } = await evaluate({ y: g.concat([x, c], 0) }, { x: tensorData(dtype, [0, 1]) })
      expect(numbers(y)).toEqual([0, 1, 1, 0])
    },
  )

  it('of half floats are refused with the way out', () => {
    const graph = new g.Graph()
    const x = graph.input('x', 'float16', [1])
    expect(() => g.lowerToOnnx({ y: g.add(x, 1) })).toThrow(
      'Constants of type float16 are not supported; cast a float32',
    )
  })
})
