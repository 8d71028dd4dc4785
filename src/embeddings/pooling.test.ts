/** @file Pooling against the same thing written plainly, token by token. */
import { describe, expect, it } from 'vitest'
import { compile } from '../models/function.ts'
import { floats, tensorData } from '../runtime/index.ts'
import { POOLING_MODES, Pooling, type PoolingMode } from './pooling.ts'

const TOKENS = [
  [
    [1, -2],
    [3, 4],
    [-5, 6],
    [7, -8],
  ],
  [
    [0.5, 1],
    [2, 2],
    [4, -1],
    [9, 9],
  ],
  [
    [9, 9],
    [9, 9],
    [-1, -3],
    [-2, -1],
  ],
] // prettier-ignore
/** Whole, padded on the right, padded on the left. */
const MASK = [
  [1, 1, 1, 1],
  [1, 1, 1, 0],
  [0, 0, 1, 1],
]

/** What a mode makes of the tokens of one text, without its padding; `skip` of them are a prompt's. */
function plainly(mode: PoolingMode, text: number[][], skip: number): number[] {
  const kept = text.map((vector, i) => ({ vector, place: i + 1 })).slice(skip)
  const total = (weight: (place: number) => number) =>
    [0, 1].map(axis => kept.reduce((sum, { vector, place }) => sum + vector[axis] * weight(place), 0))
  const places = kept.reduce((sum, { place }) => sum + place, 0)
  switch (mode) {
    case 'cls':
      return kept[0].vector
    case 'lasttoken':
      return kept[kept.length - 1].vector
    case 'max':
      return [0, 1].map(axis => Math.max(...kept.map(({ vector }) => vector[axis])))
    case 'mean':
      return total(() => 1 / kept.length)
    case 'mean_sqrt_len_tokens':
      return total(() => 1 / Math.sqrt(kept.length))
    case 'weightedmean':
      return total(place => place / places)
  }
}

const textOf = (row: number) => TOKENS[row].filter((_, i) => MASK[row][i] === 1)

async function pooled(pooling: Pooling, promptLength?: number): Promise<number[][]> {
  await using run = await compile(pooling, (module, { tokens, mask, prompt }) => ({
    y: module.forward(tokens, mask, prompt),
  }))
  const { y } = await run({
    tokens: tensorData('float32', TOKENS),
    mask: tensorData('int64', MASK),
    ...(promptLength !== undefined && { prompt: tensorData('int64', [promptLength]) }),
  })
  const width = pooling.outputDimension
  return TOKENS.map((_, i) => [...floats(y).slice(i * width, (i + 1) * width)])
}

function expectClose(actual: number[][], expected: number[][]) {
  expect(actual.map(row => row.length)).toEqual(expected.map(row => row.length))
  actual.forEach((row, i) => void row.forEach((value, j) => void expect(value).toBeCloseTo(expected[i][j], 5)))
}

describe('pooling', () => {
  it.each(POOLING_MODES)('%s leaves padding out on either side', async mode => {
    const pooling = new Pooling({ embeddingDimension: 2, poolingMode: mode })
    expectClose(
      await pooled(pooling),
      TOKENS.map((_, i) => plainly(mode, textOf(i), 0)),
    )
  })

  it.each(POOLING_MODES)('%s leaves a prompt out where it is to', async mode => {
    const pooling = new Pooling({ embeddingDimension: 2, poolingMode: mode, includePrompt: false })
    expectClose(
      await pooled(pooling, 1),
      TOKENS.map((_, i) => plainly(mode, textOf(i), 1)),
    )
    const including = new Pooling({ embeddingDimension: 2, poolingMode: mode })
    expectClose(
      await pooled(including, 1),
      TOKENS.map((_, i) => plainly(mode, textOf(i), 0)),
    )
  })

  it('puts the vectors of several modes one behind the other', async () => {
    const pooling = new Pooling({ embeddingDimension: 2, poolingMode: ['mean', 'cls', 'max'] })
    expect(pooling.outputDimension).toBe(6)
    const expected = TOKENS.map((_, i) =>
      (['mean', 'cls', 'max'] as const).flatMap(mode => plainly(mode, textOf(i), 0)),
    )
    expectClose(await pooled(pooling), expected)
  })

  it('refuses a mode that does not exist', () => {
    const made = (poolingMode: unknown) => () =>
      new Pooling({ embeddingDimension: 2, poolingMode: poolingMode as 'cls' })
    expect(made('maen')).toThrow(/there is no mode "maen"\. Did you mean .*"mean"/)
    expect(made([])).toThrow('there is no mode')
  })
})
