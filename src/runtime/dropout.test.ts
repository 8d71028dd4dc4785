/** @file Dropout: the statistics of its masks, their seeds, and that the backward pass sees the same ones. */
import { describe, expect, it } from 'vitest'
import { gradients } from '../autodiff/index.ts'
import * as g from '../graph/index.ts'
import { defaultEngine, floats, tensorData } from './index.ts'
import { fillDropoutMask } from './node/random.js'

const SIZE = 20_000
const mean = (values: Iterable<number>) => {
  let [total, count] = [0, 0]
  for (const value of values) {
    total += value
    count++
  }
  return total / count
}
const mask = (p: number, seed: number, site: number, size = SIZE) => {
  const result = new Float32Array(size).fill(7)
  fillDropoutMask(result, p, seed, site)
  return result.map(value => (value === 0 ? 0 : Math.abs(value * p - 1) < 1e-6 ? 1 : Number.NaN))
}
/** Five standard deviations of a mean of `size` draws. */
const margin = (p: number, size = SIZE) => 5 * Math.sqrt((p * (1 - p)) / size) + 1e-12

describe('random masks', () => {
  it.each([0, 0.001, 0.1, 0.25, 0.5, 0.9, 0.9995, 1])('are 1 with probability %f', p => {
    const drawn = mask(p, 3, 0, 200_000)
    expect(drawn.every(value => value === 0 || value === 1)).toBe(true)
    expect(Math.abs(mean(drawn) - p)).toBeLessThanOrEqual(margin(p, 200_000))
  })

  it('are the same for a seed and a site', () => {
    expect(mask(0.5, 7, 1)).toEqual(mask(0.5, 7, 1))
  })

  it.each<[string, [number, number], [number, number]]>([
    ['seeds', [0, 0], [1, 0]],
    ['sites', [0, 0], [0, 1]],
    ['seeds and sites in exchange', [0, 1], [1, 0]],
    ['high bits of the seed', [5, 0], [5 + 2 ** 32, 0]],
    ['signs of the seed', [1, 0], [-1, 0]],
    ['distant seeds', [0, 3], [123456789, 3]],
  ])('are independent for different %s', (_, a, b) => {
    const [first, second] = [mask(0.5, ...a), mask(0.5, ...b)]
    expect(Math.abs(mean(first.map((value, i) => (value === second[i] ? 1 : 0))) - 0.5)).toBeLessThan(margin(0.5))
  })

  it('show no pattern from one element to the next', () => {
    const drawn = mask(0.5, 11, 0)
    for (const lag of [1, 2, 3, 4, 8, 256]) {
      const equal = drawn.slice(lag).map((value, i) => (value === drawn[i] ? 1 : 0))
      expect(Math.abs(mean(equal) - 0.5), `lag ${lag}`).toBeLessThan(margin(0.5, SIZE - lag))
    }
  })
})

describe('dropout', async () => {
  const engine = await defaultEngine()
  const build = (p: number) => {
    const graph = new g.Graph()
    graph.training = true
    const x = graph.input('x', 'float32', ['n', 10])
    const y = g.dropout(x, p)
    return { x, y, graph }
  }
  const ones = tensorData('float32', new Float32Array(SIZE).fill(1), [SIZE / 10, 10])

  it('zeroes a share p of the elements and keeps the expectation', async () => {
    for (const p of [0.1, 0.5]) {
      await using executable = await engine.compile({ y: build(p).y })
      const y = floats((await executable.run({ x: ones }, { seed: 1 })).y)
      expect(new Set(y)).toEqual(new Set([0, Math.fround(1 / (1 - p))]))
      expect(Math.abs(mean(y.map(value => (value === 0 ? 1 : 0))) - p)).toBeLessThan(margin(p))
      expect(Math.abs(mean(y) - 1)).toBeLessThan(margin(p) / (1 - p))
    }
  })

  it('draws the same mask for the same seed, another for another, and another at each place', async () => {
    const { x, y } = build(0.5)
    const second = g.dropout(x, 0.5)
    await using executable = await engine.compile({ y, second })
    const run = async (seed?: number) => await executable.run({ x: ones }, { seed }) // prettier-ignore
    const [a, b, c, d] = [await run(4), await run(4), await run(5), await run()]
    expect(a).toEqual(b)
    const others = { 'seed 5': c.y, 'the default seed': d.y, 'the second place': a.second }
    for (const [name, other] of Object.entries(others)) {
      const equal = floats(other).map((value, i) => (value === a.y.data[i] ? 1 : 0))
      expect(Math.abs(mean(equal) - 0.5), name).toBeLessThan(margin(0.5))
    }
    expect(d).toEqual(await run(0))
  })

  it('draws for every run its own mask, also when several wait for their turn', async () => {
    await using executable = await engine.compile({ y: build(0.5).y })
    const run = async (seed: number) => floats((await executable.run({ x: ones }, { seed })).y)
    const alone = [await run(1), await run(2), await run(3)]
    expect(await Promise.all([run(1), run(2), run(3)])).toEqual(alone)
  })

  it('uses one mask forward and backward', async () => {
    const { x, y } = build(0.3)
    const [dx] = gradients(g.sum(g.mul(y, 3)), [x])
    await using executable = await engine.compile({ y, dx })
    const found = await executable.run({ x: ones }, { seed: 9 })
    expect(floats(found.dx)).toEqual(floats(found.y).map(value => value * 3))
  })

  it('draws a mask of the size of the run', async () => {
    await using executable = await engine.compile({ y: build(0.5).y })
    for (const n of [1, 0, 7]) {
      const x = tensorData('float32', new Float32Array(n * 10), [n, 10])
      expect((await executable.run({ x })).y.dims).toEqual([n, 10])
    }
  })

  it('is x itself outside training and for p = 0', () => {
    const graph = new g.Graph()
    const x = graph.input('x', 'float32', [2])
    expect(g.dropout(x, 0.5)).toBe(x)
    graph.training = true
    expect(g.dropout(x, 0)).toBe(x)
    expect(g.dropout(x, 0.5)).not.toBe(x)
  })

  it.each([1, -0.1, Number.NaN])('refuses the probability %f', p => {
    expect(() => build(p)).toThrow(`the probability must lie in [0, 1), got ${p}`)
  })
})
