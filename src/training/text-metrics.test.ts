/** @file Metrics of texts, against definitions and known values. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { characterErrorRate, editDistance, exactMatch, rougeL, wordErrorRate } from './index.ts'

const letters = fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 7 })

/** By the definition: the best of leaving out, putting in and replacing at the first place. */
function slowDistance(a: readonly string[], b: readonly string[]): number {
  if (a.length === 0 || b.length === 0) return a.length + b.length
  if (a[0] === b[0]) return slowDistance(a.slice(1), b.slice(1))
  return 1 + Math.min(slowDistance(a.slice(1), b), slowDistance(a, b.slice(1)), slowDistance(a.slice(1), b.slice(1)))
}

describe('editDistance', () => {
  it('is the fewest changes', () => {
    fc.assert(
      fc.property(letters, letters, (a, b) => editDistance(a, b) === slowDistance(a, b)),
      { numRuns: 60 },
    )
  })
})

describe('error rates', () => {
  it('count over all texts together, blanks once', () => {
    // Of 4 + 2 words one is replaced and one is missing; of 14 + 6 characters 1 + 4.
    const expected = ['the cat sat on', 'my  dog']
    const got = ['the bat sat on ', 'my']
    expect(wordErrorRate(got, expected)).toBeCloseTo(2 / 6, 12)
    expect(characterErrorRate(got, expected)).toBeCloseTo((1 + 4) / (14 + 6), 12)
    expect(exactMatch(got, expected)).toBe(0)
    expect(exactMatch([' a', 'b'], ['a ', 'c'])).toBe(0.5)
  })

  it('may be above 1, and infinite where nothing was expected', () => {
    expect(wordErrorRate(['a b c'], ['d'])).toBe(3)
    expect(wordErrorRate(['a'], [''])).toBe(Number.POSITIVE_INFINITY)
    expect(wordErrorRate([''], [''])).toBe(0)
    expect(() => wordErrorRate(['a'], [])).toThrow(/1 predictions and 0 references/)
  })
})

describe('rougeL', () => {
  it('is the F1 of the longest common subsequence', () => {
    // The cat ... the mat: 5 of 6 words in order on both sides.
    expect(rougeL(['The cat sat on the mat.'], ['the cat is on the mat'])).toBeCloseTo(5 / 6, 12)
    expect(rougeL(['police kill the gunman'], ['police killed the gunman'])).toBeCloseTo(0.75, 12)
    expect(rougeL(['x', 'a b'], ['y', 'a b'])).toBe(0.5)
    expect(rougeL(['Straße, 3'], ['straße 3'])).toBe(1)
  })
})
