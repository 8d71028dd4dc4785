/** @file Mixtures of experts against their definition, token by token. */
import { afterAll, describe, expect, it } from 'vitest'
import { Graph } from '../../graph/index.ts'
import { Engine, floats, NodeBackend } from '../../runtime/index.ts'
import { randomData } from '../../runtime/testing/run.ts'
import { alibiSlopes } from './alibi.ts'
import { expertPart, SparseMoeBlock } from './experts.ts'

const engine = new Engine(new NodeBackend())
afterAll(() => engine.dispose())

const [EXPERTS, HIDDEN, INNER] = [5, 4, 3]

function createBlock(chosen: number, normalize: boolean): SparseMoeBlock {
  const block = new SparseMoeBlock({
    hidden_size: HIDDEN,
    inner: INNER,
    experts: EXPERTS,
    chosen,
    normalize,
    hidden_act: 'relu',
    initializer_range: 1,
  })
  block.initialize(3)
  return block
}

/** The definition: the chosen experts of one token, one after another. */
function expected({ gate, experts }: SparseMoeBlock, token: number[]): number[] {
  const row = (data: Float32Array, at: number) => token.reduce((sum, x, i) => sum + x * data[at * HIDDEN + i], 0)
  const powers = Array.from({ length: EXPERTS }, (_, e) => Math.exp(row(gate.weight.data, e)))
  const total = powers.reduce((a, b) => a + b, 0)
  const order = powers.map((_, e) => e).sort((a, b) => powers[b] - powers[a])
  const chosen = order.slice(0, gate.chosen)
  const scale = gate.normalize ? chosen.reduce((sum, e) => sum + powers[e], 0) : total
  const result = new Array<number>(HIDDEN).fill(0)
  for (const e of chosen) {
    const inner = Array.from({ length: INNER }, (_, i) => {
      const [gated, up] = [i, i + INNER].map(r => row(experts.gate_up_proj.data, e * 2 * INNER + r))
      return Math.max(gated, 0) * up
    })
    for (let h = 0; h < HIDDEN; h++) {
      const down = inner.reduce((sum, x, i) => sum + x * experts.down_proj.data[(e * HIDDEN + h) * INNER + i], 0)
      result[h] += (powers[e] / scale) * down
    }
  }
  return result
}

describe('SparseMoeBlock', () => {
  it.each([
    [1, false],
    [2, false],
    [2, true],
    [5, true],
  ])('gives each token to its %d best experts (weights made to add up to one: %s)', async (chosen, normalize) => {
    const block = createBlock(chosen, normalize)
    const graph = new Graph()
    const y = graph.trace(() => block.forward(graph.input('x', 'float32', ['batch', 'sequence', HIDDEN])))
    expect(y.shape).toEqual(['batch', 'sequence', HIDDEN])
    await using executable = await engine.compile({ y }, { mode: 'small' })
    const x = randomData([2, 3, HIDDEN], 5)
    const found = floats((await executable.run({ x })).y)
    for (let t = 0; t < 6; t++) {
      const token = [...(x.data as Float32Array).slice(t * HIDDEN, (t + 1) * HIDDEN)]
      for (const [h, value] of expected(block, token).entries()) expect(found[t * HIDDEN + h]).toBeCloseTo(value, 4)
    }
  })
})

describe('expertPart', () => {
  const NAMES = { gate: 'w1', up: 'w3', down: 'w2' }

  it('puts gate and gated of each expert behind each other, and the way back by itself', () => {
    const part = (name: string) => expertPart(`model.layers.0.mlp.experts.${name}.weight`, NAMES)
    expect(part('0.w1')).toEqual({ name: 'model.layers.0.mlp.experts.gate_up_proj', index: 0 })
    expect(part('3.w3')).toEqual({ name: 'model.layers.0.mlp.experts.gate_up_proj', index: 7 })
    expect(part('3.w2')).toEqual({ name: 'model.layers.0.mlp.experts.down_proj', index: 3 })
  })

  it('leaves every other tensor alone', () => {
    for (const name of ['model.layers.0.mlp.gate.weight', 'mlp.experts.0.w4.weight', 'mlp.experts.gate_up_proj']) {
      expect(expertPart(name, NAMES)).toBeUndefined()
    }
  })
})

describe('alibiSlopes', () => {
  it('are powers of one base, and of its root for the heads beyond a power of two', () => {
    expect(alibiSlopes(4)).toEqual([1 / 4, 1 / 16, 1 / 64, 1 / 256])
    const six = alibiSlopes(6)
    expect(six.slice(0, 4)).toEqual(alibiSlopes(4))
    expect(six[4]).toBeCloseTo(1 / 2, 12)
    expect(six[5]).toBeCloseTo(1 / 8, 12)
  })
})
