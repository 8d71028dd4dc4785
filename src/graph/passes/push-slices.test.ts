/** @file Pushing slices towards the inputs: the same numbers from fewer rows, and nothing computed twice. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { gradients } from '../../autodiff/index.ts'
import { evaluate, Feeder, largestDifference, numbers } from '../../runtime/testing/run.ts'
import * as g from '../index.ts'

const LENGTHS = { batch: 2, n: 5 }
const LAYERS = ['linear', 'norm', 'rms', 'gelu', 'bias', 'mask', 'mix', 'heads', 'turn', 'gate', 'residual'] as const
type Layer = (typeof LAYERS)[number]

/** One layer on `x`, `[batch, n, 4]`. */
function apply(layer: Layer, x: g.Tensor, feeder: Feeder, id: number): g.Tensor {
  const vector = () => feeder.random(`v${id}`, [4])
  switch (layer) {
    case 'linear':
      return g.linear(x, feeder.random(`w${id}`, [4, 4]), vector())
    case 'norm':
      return g.layerNorm(x, vector(), feeder.random(`u${id}`, [4]), 1e-2)
    case 'rms':
      return g.rmsNorm(x, vector(), 1e-2)
    case 'gelu':
      return g.gelu(x)
    case 'bias':
      return g.add(x, feeder.random(`b${id}`, [1, 'n', 4]))
    case 'mask':
      return g.where(g.greater(feeder.random(`m${id}`, ['n', 1]), 0), x, 0.5)
    case 'mix':
      return g.matmul(g.softmax(feeder.random(`s${id}`, ['batch', 'n', 'n']), -1), x)
    case 'heads': {
      const split = g.transpose(g.reshape(x, ['batch', 'n', 2, 2]), [0, 2, 1, 3])
      const scores = g.softmax(g.matmul(split, split, { transB: true }), -1)
      return g.reshape(g.transpose(g.matmul(scores, split), [0, 2, 1, 3]), ['batch', 'n', 4])
    }
    case 'turn':
      return g.transpose(g.softmax(g.transpose(g.neg(x)), 1))
    case 'gate':
      return g.mul(g.linear(x, feeder.random(`w${id}`, [4, 4])), g.sigmoid(x))
    case 'residual':
      return g.add(x, g.silu(x))
  }
}

const rowsOfProducts = (outputs: readonly g.Tensor[]) =>
  g
    .reachableNodes(outputs)
    .filter(node => node.op === 'Linear' || node.op === 'MatMul')
    .reduce((rows, { outputs: [y] }) => rows + g.evaluateDim(g.multiplyDims(...y.shape.slice(0, -1)), LENGTHS), 0)

const countOf = (outputs: readonly g.Tensor[], op: string) =>
  g.reachableNodes(outputs).filter(node => node.op === op).length

describe('pushing slices', () => {
  it('changes no number, gradients included, and never adds a product or a row', async () => {
    const range = fc.constantFrom<[g.Dim, g.Dim]>([0, 1], [1, 3], [0, 'n'], [2, 'n'], [1, 1])
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom(...LAYERS), { minLength: 1, maxLength: 6 }),
        range,
        async (layers, at) => {
          const feeder = new Feeder(LENGTHS)
          const x = feeder.random('x', ['batch', 'n', 4])
          const hidden = layers.reduce((value, layer, i) => apply(layer, value, feeder, i), g.mul(x, 1.5))
          const before = g.slice(hidden, 1, ...at)
          const pushed = g.pushSlices([before], [x])
          const [after] = pushed.outputs
          expect(after.shape).toEqual(before.shape)
          expect(rowsOfProducts([after])).toBeLessThanOrEqual(rowsOfProducts([before]))
          for (const op of ['Linear', 'MatMul', 'Softmax', 'LayerNorm', 'RmsNorm', 'Gelu', 'Add']) {
            expect(countOf([after], op), op).toBe(countOf([before], op))
          }
          const [dBefore] = gradients(g.sum(g.mul(before, before)), [x])
          const [dAfter] = gradients(g.sum(g.mul(after, after)), [pushed.map(x)!])
          const expected = await evaluate({ before, dBefore }, feeder.feeds)
          const found = await evaluate({ after, dAfter }, feeder.feeds)
          expect(found.after.dims).toEqual(expected.before.dims)
          expect(largestDifference(numbers(found.after), numbers(expected.before))).toBeLessThan(1e-5)
          const scale = Math.max(1, ...numbers(expected.dBefore).map(Math.abs))
          expect(largestDifference(numbers(found.dAfter), numbers(expected.dBefore)) / scale).toBeLessThan(1e-4)
        },
      ),
      { numRuns: 60 },
    )
  })

  it('computes a classifier over the first token for that token alone', () => {
    const feeder = new Feeder(LENGTHS)
    const x = feeder.random('x', ['batch', 'n', 4])
    const layers: Layer[] = ['linear', 'gelu', 'norm', 'bias', 'linear']
    const hidden = layers.reduce((value, layer, i) => apply(layer, value, feeder, i), x)
    const first = g.slice(hidden, 1, 0, 1)
    const [pushed] = g.pushSlices([first]).outputs
    expect(rowsOfProducts([first])).toBe(2 * 10)
    expect(rowsOfProducts([pushed])).toBe(2 * 2)
    const [slice] = g.reachableNodes([pushed]).filter(node => node.op === 'Slice' && node.inputs[0].rank === 3)
    expect(slice.inputs[0].node.op).toBe('Input')
  })

  it('leaves keys and values of an attention whole and shortens its queries', () => {
    const feeder = new Feeder(LENGTHS)
    const x = feeder.random('x', ['batch', 'n', 4])
    const [q, k, v] = ['q', 'k', 'v'].map(name => g.linear(x, feeder.random(name, [4, 4])))
    const mixed = g.matmul(g.softmax(g.matmul(q, k, { transB: true }), -1), v)
    const [pushed] = g.pushSlices([g.slice(mixed, 1, 0, 1)]).outputs
    const rows = g
      .reachableNodes([pushed])
      .filter(node => node.op === 'Linear')
      .map(node => node.outputs[0].shape[1])
    expect(rows.sort()).toEqual([1, 'n', 'n'])
    expect(countOf([pushed], 'Linear')).toBe(3)
  })

  it('stops at a value with two readers, an output among them', () => {
    const graph = new g.Graph()
    const x = graph.input('x', 'float32', ['batch', 'n', 4])
    const weight = graph.input('w', 'float32', [4, 4])
    const hidden = g.linear(x, weight)
    const sliced = g.slice(g.exp(hidden), 1, 0, 1)
    for (const outputs of [
      [sliced, g.sum(hidden)],
      [sliced, hidden],
    ]) {
      const pushed = g.pushSlices(outputs).outputs
      expect(countOf(pushed, 'Linear')).toBe(1)
      expect(rowsOfProducts(pushed)).toBe(10)
      const [exp] = g.reachableNodes(pushed).filter(node => node.op === 'Exp')
      expect(exp.outputs[0].shape).toEqual(['batch', 1, 4])
    }
  })

  it('stops where another output of the same node is read', async () => {
    const feeder = new Feeder(LENGTHS)
    const x = feeder.random('x', ['batch', 'n', 4])
    const weight = feeder.random('w', [4])
    const [y, center, inverse] = feeder.graph.add('LayerNorm', [g.exp(x), weight], { epsilon: 1e-5 })
    const outputs = [g.slice(y, 1, 0, 1), g.slice(center, 1, 0, 1), g.sum(inverse)]
    const pushed = g.pushSlices(outputs).outputs
    expect(countOf(pushed, 'LayerNorm')).toBe(1)
    const name = (tensors: g.Tensor[]) => Object.fromEntries(tensors.map((tensor, i) => [`y${i}`, tensor]))
    const expected = await evaluate(name(outputs), feeder.feeds)
    const found = await evaluate(name(pushed), feeder.feeds)
    for (const key of Object.keys(expected)) {
      expect(largestDifference(numbers(found[key]), numbers(expected[key])), key).toBeLessThan(1e-6)
    }
  })

  it('draws a dropout mask for the rows that are left only', async () => {
    const feeder = new Feeder(LENGTHS)
    feeder.graph.training = true
    const x = feeder.random('x', ['batch', 'n', 4])
    const [y] = g.pushSlices([g.slice(g.dropout(g.exp(x), 0.5), 1, 0, 1)]).outputs
    const [mask] = g.reachableNodes([y]).filter(node => node.op === 'DropoutMask')
    expect(mask.outputs[0].shape).toEqual(['batch', 1, 4])
    expect((await evaluate({ y }, feeder.feeds)).y.dims).toEqual([2, 1, 4])
  })

  it('does not pass the axis that a softmax, a norm or a product works along', () => {
    const graph = new g.Graph()
    const x = graph.input('x', 'float32', ['batch', 'n', 4])
    const weight = graph.input('w', 'float32', [4, 4])
    const vector = graph.input('v', 'float32', [4])
    const stays = [g.softmax(x, 2), g.layerNorm(x, vector, vector, 1e-5), g.linear(x, weight), g.matmul(x, weight)]
    for (const y of stays) {
      const [pushed] = g.pushSlices([g.slice(y, 2, 0, 2)]).outputs
      expect(pushed.node.op).toBe('Slice')
    }
  })
})
