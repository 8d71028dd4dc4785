/** @file Attention against a plain loop: masks, groups of heads, past positions, gradients. */
import { describe, expect, it } from 'vitest'
import { gradients } from '../autodiff/index.ts'
import * as g from '../graph/index.ts'
import { defaultEngine, type TensorData, tensorData } from '../runtime/index.ts'
import { evaluate, Feeder, largestDifference, numbers, randomData } from '../runtime/testing/run.ts'
import { attention, causalMask, KeyValueCache, mergeHeads, paddingMask, splitHeads } from './index.ts'

/** Element `[b, h, i, j]` of a tensor of four axes. */
const at = ({ dims, data }: TensorData, b: number, h: number, i: number, j: number) =>
  Number(data[((b * dims[1] + h) * dims[2] + i) * dims[3] + j])

/** The definition: every query over every key that it sees; a group of query heads shares a key head. */
function naive(
  q: TensorData,
  k: TensorData,
  v: TensorData,
  sees: (b: number, i: number, j: number) => boolean,
  scale?: number,
) {
  const [batch, heads, queries, width] = q.dims
  const [, kvHeads, keys] = k.dims
  const result: number[] = []
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      const shared = Math.floor((h * kvHeads) / heads)
      for (let i = 0; i < queries; i++) {
        const scores = Array.from({ length: keys }, (_, j) => {
          if (!sees(b, i, j)) return -Infinity
          let score = 0
          for (let w = 0; w < width; w++) score += at(q, b, h, i, w) * at(k, b, shared, j, w)
          return score * (scale ?? 1 / Math.sqrt(width))
        })
        const most = Math.max(...scores)
        const weights = scores.map(score => Math.exp(score - most))
        const total = weights.reduce((a, c) => a + c, 0)
        for (let w = 0; w < width; w++) {
          result.push(weights.reduce((sum, weight, j) => sum + (weight / total) * at(v, b, shared, j, w), 0))
        }
      }
    }
  }
  return result
}

describe.each([
  ['as many', 4, 4],
  ['two groups of', 4, 2],
  ['one', 4, 1],
])('attention with %s key-value heads', (_, heads, kvHeads) => {
  const shape = (count: number): g.Shape => ['batch', count, 'n', 3]

  it('equals the definition, without a mask and with a scale', async () => {
    const feeder = new Feeder({ batch: 2, n: 5 })
    const [q, k, v] = [
      ['q', heads],
      ['k', kvHeads],
      ['v', kvHeads],
    ].map(([name, count]) => feeder.random(name as string, shape(count as number))) // prettier-ignore
    const found = await evaluate({ y: attention(q, k, v), scaled: attention(q, k, v, { scale: 2 }) }, feeder.feeds)
    const { q: qs, k: ks, v: vs } = feeder.feeds
    expect(found.y.dims).toEqual([2, heads, 5, 3])
    expect(
      largestDifference(
        numbers(found.y),
        naive(qs, ks, vs, () => true),
      ),
    ).toBeLessThan(1e-5)
    expect(
      largestDifference(
        numbers(found.scaled),
        naive(qs, ks, vs, () => true, 2),
      ),
    ).toBeLessThan(1e-5)
  })

  it('equals the definition with padding and causal masks', async () => {
    const feeder = new Feeder({ batch: 2, n: 4 })
    const [q, k, v] = [
      ['q', heads],
      ['k', kvHeads],
      ['v', kvHeads],
    ].map(([name, count]) => feeder.random(name as string, shape(count as number))) // prettier-ignore
    const tokens = [
      [1, 1, 1, 0],
      [1, 1, 0, 0],
    ] // prettier-ignore
    const present = feeder.values('present', 'int64', tokens, ['batch', 'n'])
    const outputs = {
      padding: attention(q, k, v, { mask: paddingMask(present) }),
      causal: attention(q, k, v, { mask: causalMask(feeder.graph, 'n') }),
      both: attention(q, k, v, { mask: causalMask(feeder.graph, 'n', 0, present) }),
    }
    const sees = {
      padding: (b: number, _: number, j: number) => tokens[b][j] === 1,
      causal: (_: number, i: number, j: number) => j <= i,
      both: (b: number, i: number, j: number) => j <= i && tokens[b][j] === 1,
    }
    const found = await evaluate(outputs, feeder.feeds)
    for (const [name, rule] of Object.entries(sees)) {
      const expected = naive(feeder.feeds.q, feeder.feeds.k, feeder.feeds.v, rule)
      expect(largestDifference(numbers(found[name]), expected), name).toBeLessThan(1e-5)
    }
  })

  it('bounds the scores by softcap before the mask, so that what is hidden stays hidden', async () => {
    const feeder = new Feeder({ batch: 2, n: 4 })
    const [q, k, v] = [
      ['q', heads],
      ['k', kvHeads],
      ['v', kvHeads],
    ].map(([name, count]) => feeder.random(name as string, shape(count as number))) // prettier-ignore
    const mask = causalMask(feeder.graph, 'n')
    const outputs = {
      // A cap of nearly nothing makes all visible keys equal: their mean, whatever the queries.
      flat: attention(q, k, v, { mask, softcap: 1e-6 }),
      loose: attention(q, k, v, { mask, softcap: 1e4 }),
      free: attention(q, k, v, { mask }),
    }
    const found = await evaluate(outputs, feeder.feeds)
    expect(largestDifference(numbers(found.loose), numbers(found.free))).toBeLessThan(1e-4)
    const zero = { ...feeder.feeds.q, data: (feeder.feeds.q.data as Float32Array).map(() => 0) }
    const mean = naive(zero, feeder.feeds.k, feeder.feeds.v, (_, i, j) => j <= i)
    expect(largestDifference(numbers(found.flat), mean)).toBeLessThan(1e-5)
  })

  it('over past positions equals attention over all of them, none included, gradients too', async () => {
    const graph = new g.Graph()
    const input = (name: string, count: number, length: g.Dim) =>
      graph.input(name, 'float32', ['batch', count, length, 3])
    const q = input('q', heads, 'now')
    const [k, v] = ['k', 'v'].map(name => input(name, kvHeads, 'now'))
    const [pastKey, pastValue] = ['pastKey', 'pastValue'].map(name => input(name, kvHeads, 'past'))
    const present = graph.input('present', 'int64', ['batch', 'now+past'])
    const cache = new KeyValueCache([{ key: pastKey, value: pastValue }])
    expect(cache.length).toBe('past')
    const mask = causalMask(graph, 'now', cache.length, present)
    const cached = attention(q, k, v, { mask, past: [cache.past[0]] })
    const whole = attention(q, g.concat([pastKey, k], 2), g.concat([pastValue, v], 2), { mask })
    const inputs = { q, k, v, pastKey, pastValue }
    const outputs: Record<string, g.Tensor> = { 'cached y': cached, 'whole y': whole }
    for (const [kind, y] of Object.entries({ cached, whole })) {
      const grads = gradients(g.sum(g.mul(y, g.sin(y))), Object.values(inputs))
      Object.keys(inputs).forEach((name, i) => {
        outputs[`${kind} ${name}`] = grads[i]
      })
    }
    await using executable = await (await defaultEngine()).compile(outputs)
    for (const [past, now] of [
      [3, 2],
      [0, 3],
      [4, 1],
      [0, 1],
    ]) {
      const feeds: Record<string, TensorData> = {}
      for (const [name, { shape }] of Object.entries(inputs)) {
        feeds[name] = randomData(
          shape.map(dim => g.evaluateDim(dim, { batch: 2, past, now })),
          name.length + 3,
        )
      }
      const total = past + now
      const ids = Array.from({ length: 2 * total }, (_, i) => (total > 1 && i === 0 ? 0 : 1))
      const found = await executable.run({ ...feeds, present: tensorData('int64', ids, [2, total]) })
      for (const name of ['y', ...Object.keys(inputs)]) {
        const [a, b] = [found[`cached ${name}`], found[`whole ${name}`]]
        expect(a.dims).toEqual(b.dims)
        // A first query that sees only padding has a uniform mean in both; everything else is ordinary.
        expect(largestDifference(numbers(a), numbers(b)), `${name}, ${past} past, ${now} now`).toBeLessThan(1e-5)
      }
      if (past === 0) {
        const sees = (b: number, i: number, j: number) => j <= i && ids[b * total + j] === 1
        const seen = naive(feeds.q, feeds.k, feeds.v, sees)
        const y = numbers(found['cached y'])
        for (const [i, value] of seen.entries()) if (Number.isFinite(value)) expect(y[i]).toBeCloseTo(value, 5)
      }
    }
  })

  it('may have a past of static length 0', async () => {
    const feeder = new Feeder({ batch: 1, n: 3 })
    const [q, k, v] = [
      ['q', heads],
      ['k', kvHeads],
      ['v', kvHeads],
    ].map(([name, count]) => feeder.random(name as string, shape(count as number))) // prettier-ignore
    const past = {
      key: g.zeros(feeder.graph, ['batch', kvHeads, 0, 3]),
      value: g.zeros(feeder.graph, ['batch', kvHeads, 0, 3]),
    }
    const [with0, without] = [attention(q, k, v, { past: [past] }), attention(q, k, v)]
    const [dWith0] = gradients(g.sum(g.mul(with0, with0)), [q])
    const [dWithout] = gradients(g.sum(g.mul(without, without)), [q])
    const found = await evaluate({ with0, without, dWith0, dWithout }, feeder.feeds)
    expect(largestDifference(numbers(found.with0), numbers(found.without))).toBeLessThan(1e-6)
    expect(largestDifference(numbers(found.dWith0), numbers(found.dWithout))).toBeLessThan(1e-6)
  })
})

describe('heads', () => {
  it('are split off and joined again', async () => {
    const feeder = new Feeder({ batch: 2, n: 3 })
    const x = feeder.random('x', ['batch', 'n', 8])
    const split = splitHeads(x, 4)
    expect(split.shape).toEqual(['batch', 4, 'n', 2])
    const { split: heads, merged } = await evaluate({ split, merged: mergeHeads(split) }, feeder.feeds)
    expect(numbers(merged)).toEqual(numbers(feeder.feeds.x))
    expect(at(heads, 1, 2, 0, 1)).toBe(numbers(feeder.feeds.x)[1 * 24 + 0 * 8 + 2 * 2 + 1])
  })

  it('of queries must be a multiple of those of keys', () => {
    const graph = new g.Graph()
    const [q, k] = [4, 3].map((heads, i) => graph.input(`x${i}`, 'float32', ['batch', heads, 'n', 2]))
    expect(() => attention(q, k, k)).toThrow('4 query heads cannot share 3 key-value heads equally')
  })
})

describe('masks', () => {
  it('for several queries after a past let each see up to itself', async () => {
    const graph = new g.Graph()
    graph.input('x', 'float32', ['past', 'now'])
    const mask = causalMask(graph, 'now', 'past')
    expect(mask.shape).toEqual([1, 1, 'now', 'now+past'])
    const { seen } = await evaluate({ seen: g.cast(g.equal(mask, 0), 'int32') }, { x: randomData([2, 2], 1) })
    expect(numbers(seen)).toEqual([1, 1, 1, 0, 1, 1, 1, 1])
  })

  it('leave a query that sees nothing without NaN', async () => {
    const feeder = new Feeder()
    const [q, k, v] = ['q', 'k', 'v'].map(name => feeder.random(name, [1, 1, 2, 3]))
    const mask = paddingMask(feeder.values('present', 'int64', [[0, 0]]))
    const y = attention(q, k, v, { mask })
    const [dq] = gradients(g.sum(y), [q])
    const found = await evaluate({ y, dq }, feeder.feeds)
    expect([...numbers(found.y), ...numbers(found.dq)].every(Number.isFinite)).toBe(true)
  })
})
