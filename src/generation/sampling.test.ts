/** @file Choosing tokens: what can be drawn, how often, and what cannot. */
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Random } from '../util/random.ts'
import { forbid, penalizeRepetition } from './logits.ts'
import { mostLikely, narrow, type SamplingOptions, sample } from './sampling.ts'
import { largestAt } from './select.ts'

const all = { temperature: 1, topK: 0, topP: 1 }
const logitsOf = (probabilities: readonly number[]) => Float32Array.from(probabilities, Math.log)

/** How often each token is drawn, as shares. */
function shares(logits: Float32Array, options: Partial<typeof all>, draws = 20_000): number[] {
  const random = new Random(3)
  const counts = Array(logits.length).fill(0)
  for (let i = 0; i < draws; i++) counts[sample(logits, { ...all, ...options }, random)]++
  return counts.map(count => count / draws)
}

/** The tokens that can be drawn. */
const drawn = (logits: Float32Array, options: Partial<typeof all>) =>
  shares(logits, options, 2000).flatMap((share, token) => (share > 0 ? [token] : []))

const near = (got: readonly number[], expected: readonly number[]) => {
  for (const [i, share] of got.entries()) expect(Math.abs(share - expected[i])).toBeLessThan(0.015)
}

describe('sample', () => {
  const probabilities = [0.1, 0.4, 0.3, 0.2]
  const logits = logitsOf(probabilities)

  it('draws tokens as often as they are likely', () => {
    near(shares(logits, {}), probabilities)
  })

  it('sharpens and flattens by the temperature', () => {
    const power = probabilities.map(p => p ** 2)
    const total = power.reduce((a, b) => a + b)
    near(
      shares(logits, { temperature: 0.5 }),
      power.map(p => p / total),
    )
    near(shares(logits, { temperature: 1e6 }), [0.25, 0.25, 0.25, 0.25])
  })

  it('draws among the k most likely, ties included', () => {
    near(shares(logits, { topK: 2 }), [0, 4 / 7, 3 / 7, 0])
    expect(drawn(logits, { topK: 4 })).toEqual([0, 1, 2, 3])
    expect(drawn(logits, { topK: 100 })).toEqual([0, 1, 2, 3])
    expect(drawn(logitsOf([0.2, 0.2, 0.4, 0.2]), { topK: 2 })).toEqual([0, 1, 2, 3])
  })

  it('draws among the most likely that make up p', () => {
    expect(drawn(logits, { topP: 0.39 })).toEqual([1])
    expect(drawn(logits, { topP: 0.5 })).toEqual([1, 2])
    expect(drawn(logits, { topP: 0.75 })).toEqual([1, 2, 3])
    near(shares(logits, { topP: 0.75 }), [0, 4 / 9, 3 / 9, 2 / 9])
    expect(drawn(logits, { topP: 1 })).toEqual([0, 1, 2, 3])
  })

  it('keeps the most likely token for the smallest p', () => {
    expect(drawn(logits, { topP: 0 })).toEqual([1])
    expect(drawn(logits, { topP: 1e-9 })).toEqual([1])
  })

  it('takes p of what k left', () => {
    expect(drawn(logits, { topK: 2, topP: 0.5 })).toEqual([1])
    expect(drawn(logits, { topK: 2, topP: 0.58 })).toEqual([1, 2])
  })

  it('never draws a forbidden token', () => {
    const changed = logits.slice()
    forbid(changed, [1, 99])
    near(shares(changed, {}), [1 / 6, 0, 3 / 6, 2 / 6])
  })

  it('survives any finite logits', () => {
    const values = fc.float32Array({ minLength: 1, maxLength: 40, noNaN: true, noDefaultInfinity: true })
    const options = fc.record({
      temperature: fc.double({ min: 1e-3, max: 100, noNaN: true }),
      topK: fc.nat(45),
      topP: fc.double({ min: 0, max: 1, noNaN: true }),
    })
    fc.assert(
      fc.property(values, options, fc.integer(), (scores, chosen, seed) => {
        const token = sample(scores, chosen, new Random(seed))
        if (!(token >= 0 && token < scores.length)) return false
        const larger = scores.filter(score => score > scores[token]).length
        return chosen.topK === 0 || larger < chosen.topK
      }),
    )
  })

  it('refuses logits that are no numbers', () => {
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      expect(() => sample(new Float32Array(3).fill(value), all, new Random(0))).toThrow(/no finite logits/)
    }
  })
})

interface Golden {
  scores: number[]
  warpers: { options: Partial<SamplingOptions>; least: number; expected: (number | null)[] }[]
}

// By golden.py in the same folder, with transformers 5.23 and torch 2.15.
const golden: Golden = JSON.parse(readFileSync(new URL('testing/golden.json', import.meta.url), 'utf8'))

describe("Transformers' warpers", () => {
  const cases = golden.warpers.map(({ expected, ...rest }) => [rest, expected] as const)

  it.each(cases)('%j', ({ options, least }, expected) => {
    const { tokens, scores, count } = narrow(Float32Array.from(golden.scores), { ...all, ...options }, least)
    const got = Array<number | null>(expected.length).fill(null)
    for (let i = 0; i < count; i++) got[tokens[i]] = scores[i]
    expect(got).toEqual(expected.map(score => (score === null ? null : expect.closeTo(score, 5))))
  })

  it('keep what sorting all tokens would keep, of many', () => {
    const share = fc.double({ min: 0.01, max: 0.99, noNaN: true })
    fc.assert(
      fc.property(fc.integer(), share, fc.boolean(), fc.integer({ min: 1, max: 4 }), (seed, p, typical, least) => {
        const random = new Random(seed)
        const scores = Float32Array.from({ length: 300 }, () => Math.round(6 * random.normal()) / 2)
        const options = typical ? { typicalP: p } : { topP: p }
        const { tokens, count } = narrow(scores, { ...all, ...options }, least)
        expect([...tokens.subarray(0, count)]).toEqual(bySorting(scores, p, typical, least))
      }),
    )
  })
})

/** What top-p or typical sampling keeps, by the definition. */
function bySorting(scores: Float32Array, p: number, typical: boolean, least: number): number[] {
  const largest = Math.max(...scores)
  const weights = [...scores].map(score => Math.exp(score - largest))
  const total = weights.reduce((a, b) => a + b, 0)
  const surprise = [...scores].map(score => largest + Math.log(total) - score)
  const entropy = weights.reduce((sum, weight, i) => sum + (weight / total) * surprise[i], 0)
  const keys = typical ? surprise.map(value => Math.abs(value - entropy)) : [...scores].map(score => -score)
  const order = [...keys.keys()].sort((a, b) => keys[a] - keys[b] || a - b)
  let [kept, mass] = [0, 0]
  while (kept < order.length && mass < p) mass += weights[order[kept++]] / total
  const last = keys[order[kept - 1]]
  const stays = (token: number, place: number) => place < Math.max(kept, least) || (typical && keys[token] <= last)
  return order.filter(stays).sort((a, b) => a - b)
}

describe('largestAt', () => {
  it('gives the places of the largest, the first of equal ones first', () => {
    const values = fc.array(fc.integer({ min: -5, max: 5 }), { minLength: 1, maxLength: 40 })
    fc.assert(
      fc.property(values, fc.integer({ min: 1, max: 50 }), (list, n) => {
        const expected = [...list.keys()].sort((a, b) => list[b] - list[a] || a - b).slice(0, n)
        expect(largestAt(Float32Array.from(list), n)).toEqual(expected)
      }),
    )
    expect(largestAt(Float32Array.of(Number.NEGATIVE_INFINITY, 1, Number.NaN), 3)).toEqual([1])
  })
})

describe('mostLikely', () => {
  it('is the first of the largest', () => {
    expect(mostLikely(Float32Array.of(-3, 2, 2, 1))).toBe(1)
    expect(mostLikely(Float32Array.of(-3, -1))).toBe(1)
  })
})

describe('penalizeRepetition', () => {
  it('lowers what occurred, on both sides of zero', () => {
    const logits = Float32Array.of(2, -2, 4, 0)
    penalizeRepetition(logits, new Set([0, 1, 3]), 2)
    expect([...logits]).toEqual([1, -4, 4, 0])
  })
})
