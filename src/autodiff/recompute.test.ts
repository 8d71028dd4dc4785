/** @file Recomputation: the same bits with less memory, and the work that it costs. */
import { describe, expect, it } from 'vitest'
import * as g from '../graph/index.ts'
import { evaluate, Feeder, numbers } from '../runtime/testing/run.ts'
import { gradients, recomputeCheap, recomputeSegments } from './index.ts'

const WIDTH = 8
const SIZES = { batch: 2, sequence: 16 }

/** A stack of layers like those of a Transformer, trained in every layer, with a loss on it. */
function stack(feeder: Feeder, layers: number) {
  const { graph } = feeder
  graph.training = true
  const visible = g.lessOrEqual(
    g.unsqueeze(g.range(graph, 'sequence'), [0]),
    g.unsqueeze(g.range(graph, 'sequence'), [1]),
  )
  const mask = g.where(visible, 0, -1e9)
  const wrt: g.Tensor[] = []
  const matrix = (name: string, ...shape: number[]) => feeder.random(name, shape, -0.5, 0.5)
  let hidden: g.Tensor = feeder.random('x', ['batch', 'sequence', WIDTH])
  for (let i = 0; i < layers; i++) {
    const normal = g.rmsNorm(hidden, matrix(`norm${i}`, WIDTH), 1e-6)
    const down = matrix(`down${i}`, WIDTH, 2)
    wrt.push(down)
    const query = g.add(
      g.matmul(normal, matrix(`query${i}`, WIDTH, WIDTH)),
      g.matmul(g.matmul(normal, down), matrix(`up${i}`, 2, WIDTH)),
    )
    const weights = g.dropout(g.softmax(g.add(g.matmul(query, normal, { transB: true, alpha: 0.3 }), mask)), 0.1)
    const attended = g.add(hidden, g.matmul(weights, normal))
    const wide = g.silu(g.linear(attended, matrix(`wide${i}`, 4 * WIDTH, WIDTH)))
    hidden = g.add(attended, g.dropout(g.linear(wide, matrix(`narrow${i}`, WIDTH, 4 * WIDTH)), 0.2))
  }
  return { loss: g.mean(g.mul(hidden, hidden)), wrt }
}

type Pass = (outputs: readonly g.Tensor[], boundary: number) => { outputs: readonly g.Tensor[]; boundary: number }

const KINDS: Record<string, Pass> = {
  nothing: (outputs, boundary) => ({ outputs, boundary }),
  'what is cheap': recomputeCheap,
  segments: recomputeSegments,
  both: (outputs, boundary) => {
    const segments = recomputeSegments(outputs, boundary)
    return recomputeCheap(segments.outputs, segments.boundary)
  },
}

function differentiate(pass: Pass, layers = 6) {
  const feeder = new Feeder(SIZES)
  const { loss, wrt } = stack(feeder, layers)
  const boundary = feeder.graph.nodes.length
  const found = gradients(loss, wrt)
  const result = pass([loss, ...found], boundary)
  const outputs = Object.fromEntries(result.outputs.map((tensor, i) => [`y${i}`, tensor]))
  const lowered = g.lowerToOnnx(outputs)
  const { peak, order } = g.planMemory(lowered, SIZES)
  return { outputs, feeds: feeder.feeds, peak, order, boundary: result.boundary }
}

describe('recomputation', () => {
  it('gives the same to the bit, dropout included', async () => {
    const results = []
    for (const pass of Object.values(KINDS)) {
      const { outputs, feeds } = differentiate(pass)
      const found = await evaluate(outputs, feeds, { seed: 5 })
      results.push(Object.values(found).map(numbers))
    }
    expect(results[0].flat().some(value => value !== 0)).toBe(true)
    for (const other of results.slice(1)) expect(other).toEqual(results[0])
  })

  it('needs less memory, of segments no more than grows with their number', () => {
    const peakOf = (kind: string, layers: number) => differentiate(KINDS[kind], layers).peak
    const peaks = Object.keys(KINDS).map(kind => peakOf(kind, 12))
    expect(peaks[1]).toBeLessThan(0.85 * peaks[0])
    expect(peaks[2]).toBeLessThan(0.5 * peaks[0])
    expect(peaks[3]).toBeLessThanOrEqual(peaks[2])
    const layer = peakOf('nothing', 24) - peakOf('nothing', 12)
    expect(peakOf('segments', 24) - peakOf('segments', 12)).toBeLessThan(layer / 4)
  })

  it('computes each node twice at most', () => {
    const count = (kind: string, op: string) => differentiate(KINDS[kind]).order.filter(node => node.op === op).length
    expect(count('segments', 'Softmax')).toBeGreaterThan(count('nothing', 'Softmax'))
    for (const op of ['Gemm', 'Softmax', 'SimplifiedLayerNormalization'])
      expect(count('segments', op), op).toBeLessThanOrEqual(2 * count('nothing', op))
    expect(count('what is cheap', 'Gemm')).toBe(count('nothing', 'Gemm'))
  })

  it('runs late: no layer is computed again before the backward pass is done with the next', () => {
    const { order } = differentiate(KINDS.segments)
    const last = (input: string) => order.findLastIndex(({ inputs }) => inputs.includes(input))
    // The input of the first layer is there anyway.
    const positions = Array.from({ length: 5 }, (_, i) => last(`norm${i + 1}`))
    expect(positions).toEqual([...positions].sort((a, b) => b - a))
  })

  it('leaves a graph alone that has no place to cut', () => {
    const feeder = new Feeder()
    const x = feeder.random('x', [3])
    const loss = g.sum(g.mul(x, x))
    const boundary = feeder.graph.nodes.length
    const outputs = [loss, ...gradients(loss, [x])]
    expect(recomputeSegments(outputs, boundary).outputs).toEqual(outputs)
  })
})
