/** @file Losses of embeddings against closed forms and finite differences, and measures against numbers worked out by hand. */
import { describe, expect, it } from 'vitest'
import { slice, split, type Tensor } from '../graph/index.ts'
import type { SymbolicInputs } from '../models/function.ts'
import { Module, Parameter } from '../nn/index.ts'
import { tensorData } from '../runtime/index.ts'
import { valueAndGrad } from '../training/index.ts'
import { Random } from '../util/random.ts'
import { cosentLoss, cosineSimilarityLoss, multipleNegativesRankingLoss } from './losses.ts'
import { pearsonCorrelation, recallAt1, retrievalMetrics, similarityMatrix, spearmanCorrelation } from './similarity.ts'

const WIDTH = 3
/** Inputs with as many scores as there are pairs. */
const FOUR = { inputs: { scores: { dtype: 'float32' as const, shape: [4] } } }

/** Embeddings that train. */
class Table extends Module {
  rows: Parameter

  constructor(count: number) {
    super()
    this.rows = new Parameter([count, WIDTH])
    const random = new Random(count)
    this.rows.data = Float32Array.from({ length: count * WIDTH }, () => random.uniform() * 2 - 1)
  }

  override forward() {}

  /** The rows from `start` on, as numbers. */
  numbers(start: number, count: number): number[][] {
    return Array.from({ length: count }, (_, i) => [
      ...this.rows.data.slice((start + i) * WIDTH, (start + i + 1) * WIDTH),
    ])
  }
}

const dot = (a: number[], b: number[]) => a.reduce((sum, x, i) => sum + x * b[i], 0)
const cosine = (a: number[], b: number[]) => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b))

/** The value and the gradient of a loss of three lists of four rows each, with finite differences beside it. */
async function check(table: Table, loss: (embeddings: (at: number) => Tensor, inputs: SymbolicInputs) => Tensor) {
  await using step = await valueAndGrad(
    table,
    (module, inputs) => {
      const rows = module.rows.trace(inputs.scores.graph)
      return loss(at => slice(rows, 0, at * 4, at * 4 + 4), inputs)
    },
    FOUR,
  )
  const batch = { scores: tensorData('float32', [0.9, -0.2, 0, 0.4]) }
  const { value, grads } = await step(batch)
  const analytic = Float64Array.from(grads.data)
  const numeric = Float64Array.from({ length: analytic.length })
  const epsilon = 1e-2
  for (let i = 0; i < numeric.length; i++) {
    const at = async (shift: number) => {
      grads.parameters.data[i] += shift
      const result = (await step(batch)).value
      grads.parameters.data[i] -= shift
      return result
    }
    numeric[i] = ((await at(epsilon)) - (await at(-epsilon))) / (2 * epsilon)
  }
  analytic.forEach((gradient, i) => void expect(gradient).toBeCloseTo(numeric[i], 2))
  expect(Math.max(...analytic.map(Math.abs))).toBeGreaterThan(0.05)
  return value
}

describe('multipleNegativesRankingLoss', () => {
  it('is the cross entropy over scaled cosines with all candidates of the batch', async () => {
    const table = new Table(12)
    const [anchors, ...others] = [0, 4, 8].map(start => table.numbers(start, 4))
    const candidates = others.flat()
    const expected = anchors.map((anchor, i) => {
      const scores = candidates.map(candidate => 5 * cosine(anchor, candidate))
      return Math.log(scores.reduce((sum, score) => sum + Math.exp(score), 0)) - scores[i]
    })
    const value = await check(table, of => multipleNegativesRankingLoss(of(0), of(1), [of(2)], { scale: 5 }))
    expect(value).toBeCloseTo(expected.reduce((a, b) => a + b) / 4, 4)
  })

  it('has the scale 20, and needs no negatives', async () => {
    const table = new Table(8)
    const [anchors, positives] = [0, 4].map(start => table.numbers(start, 4))
    const expected = anchors.map((anchor, i) => {
      const scores = positives.map(positive => 20 * cosine(anchor, positive))
      return Math.log(scores.reduce((sum, score) => sum + Math.exp(score), 0)) - scores[i]
    })
    await using step = await valueAndGrad(table, (module, { scores }) => {
      const rows = module.rows.trace(scores.graph)
      return multipleNegativesRankingLoss(...halves(rows))
    })
    const { value } = await step({ scores: tensorData('float32', [0]) })
    expect(value).toBeCloseTo(expected.reduce((a, b) => a + b) / 4, 3)
  })
})

describe('cosineSimilarityLoss', () => {
  it('is the mean squared difference of cosines and scores', async () => {
    const table = new Table(8)
    const [a, b] = [0, 4].map(start => table.numbers(start, 4))
    const expected = [0.9, -0.2, 0, 0.4].map((score, i) => (cosine(a[i], b[i]) - score) ** 2)
    const value = await check(table, (of, { scores }) => cosineSimilarityLoss(of(0), of(1), scores))
    expect(value).toBeCloseTo(expected.reduce((x, y) => x + y) / 4, 5)
  })

  it('has a finite gradient at a row of zeros', async () => {
    const table = new Table(8)
    table.rows.data.fill(0, 0, WIDTH)
    await using step = await valueAndGrad(
      table,
      (module, { scores }) => {
        const rows = module.rows.trace(scores.graph)
        return cosineSimilarityLoss(...halves(rows), scores)
      },
      FOUR,
    )
    const { value, grads } = await step({ scores: tensorData('float32', [1, 1, 1, 1]) })
    expect(Number.isFinite(value)).toBe(true)
    expect(grads.data.every(Number.isFinite)).toBe(true)
  })
})

describe('cosentLoss', () => {
  it('is the logarithm of one and the exponentials of all cosines in the wrong order', async () => {
    const table = new Table(8)
    const [a, b] = [0, 4].map(start => table.numbers(start, 4))
    const scores = [0.9, -0.2, 0, 0.4]
    const cosines = a.map((row, i) => 5 * cosine(row, b[i]))
    const sum = scores.flatMap((low, i) =>
      scores.map((high, j) => (low < high ? Math.exp(cosines[i] - cosines[j]) : 0)),
    )
    const value = await check(table, (of, inputs) => cosentLoss(of(0), of(1), inputs.scores, { scale: 5 }))
    expect(value).toBeCloseTo(Math.log(1 + sum.reduce((x, y) => x + y)), 4)
  })

  it('is 0 where all scores are equal', async () => {
    const table = new Table(8)
    await using step = await valueAndGrad(
      table,
      (module, { scores }) => cosentLoss(...halves(module.rows.trace(scores.graph)), scores),
      FOUR,
    )
    const { value, grads } = await step({ scores: tensorData('float32', [2, 2, 2, 2]) })
    expect(value).toBe(0)
    expect([...grads.data].every(x => x === 0)).toBe(true)
  })
})

describe('similarities', () => {
  const [a, b] = [
    [[3, 4]],
    [
      [4, 3],
      [-3, -4],
      [0, 0],
    ],
  ] // prettier-ignore

  it.each([
    ['cosine', [0.96, -1, 0]],
    ['dot', [24, -25, 0]],
    ['euclidean', [-Math.SQRT2, -10, -5]],
    ['manhattan', [-2, -14, -7]],
  ] as const)('%s', (name, expected) => {
    const [row] = similarityMatrix(a, b, name)
    expected.forEach((value, i) => void expect(row[i]).toBeCloseTo(value, 5))
  })

  it('refuses different widths and unknown names', () => {
    expect(() => similarityMatrix([[1]], [[1, 2]])).toThrow('widths 1 and 2')
    expect(() => similarityMatrix(a, b, 'cosin' as 'cosine')).toThrow('Did you mean "cosine"?')
  })
})

describe('metrics', () => {
  it('correlate ranks, of equal numbers the mean rank', () => {
    expect(spearmanCorrelation([1, 2, 3, 4], [10, 20, 30, 999])).toBe(1)
    expect(spearmanCorrelation([1, 2, 3], [3, 2, 1])).toBe(-1)
    // scipy.stats.spearmanr([1, 2, 2, 4, 5], [3, 1, 2, 5, 4])
    expect(spearmanCorrelation([1, 2, 2, 4, 5], [3, 1, 2, 5, 4])).toBeCloseTo(0.5642880936468347, 12)
    expect(spearmanCorrelation([1, 1, 1], [1, 2, 3])).toBe(0)
    expect(() => spearmanCorrelation([1], [1])).toThrow('two at least')
  })

  it('correlate values', () => {
    // scipy.stats.pearsonr([1, 2, 2, 4, 5], [3, 1, 2, 5, 4])
    expect(pearsonCorrelation([1, 2, 2, 4, 5], [3, 1, 2, 5, 4])).toBeCloseTo(0.6735753140545634, 12)
    expect(pearsonCorrelation([1, 2, 3], [-2, -4, -6])).toBeCloseTo(-1, 12)
    expect(pearsonCorrelation([1, 1, 1], [1, 2, 3])).toBe(0)
    expect(() => pearsonCorrelation([1], [1])).toThrow('two at least')
  })

  it('say at which place queries find their own, behind foreign ones that are as near', () => {
    const candidates = [
      [1, 0],
      [0, 1],
      [0.9, 0.1],
    ] // prettier-ignore
    const found = (queries: number[][], own: number[][]) => retrievalMetrics(queries, candidates, i => own[i])
    expect(
      found(
        [
          [1, 0],
          [0, 1],
        ],
        [[0], [1]],
      ),
    ).toEqual({ accuracy_at_1: 1, mrr: 1 }) // prettier-ignore
    expect(
      found(
        [
          [1, 0],
          [0, 1],
        ],
        [[2], [0]],
      ),
    ).toEqual({ accuracy_at_1: 0, mrr: (1 / 2 + 1 / 3) / 2 }) // prettier-ignore
    expect(found([[1, 0]], [[0, 2]])).toEqual({ accuracy_at_1: 1, mrr: 1 })
    expect(
      retrievalMetrics(
        [[1, 1]],
        [
          [1, 1],
          [1, 1],
        ],
        () => [0],
      ),
    ).toEqual({ accuracy_at_1: 0, mrr: 0.5 }) // prettier-ignore
  })

  it('count queries whose own candidate is alone nearest', () => {
    const queries = [
      [1, 0],
      [0, 1],
      [1, 1],
    ] // prettier-ignore
    expect(
      recallAt1(queries, [
        [1, 0.1],
        [0, 2],
        [3, 3],
      ]),
    ).toBe(1) // prettier-ignore
    expect(
      recallAt1(queries, [
        [1, 0.1],
        [0, 2],
        [3, 1],
        [2, 2],
      ]),
    ).toBeCloseTo(2 / 3, 6) // prettier-ignore
    expect(
      recallAt1(
        [
          [1, 0],
          [1, 0],
        ],
        [
          [1, 0],
          [1, 0],
        ],
      ),
    ).toBe(0) // prettier-ignore
    expect(() => recallAt1(queries, [])).toThrow('each needs its own')
  })
})

/** The first and the last four rows. */
function halves(rows: Tensor) {
  const [first, second] = split(rows, [4, 4], 0)
  return [first, second] as const
}
