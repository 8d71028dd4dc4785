/** @file Tests of the metrics, against values worked out by hand from scikit-learn's definitions. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { accuracy, argmax, classificationMetrics, f1Score, matthewsCorrelation, perplexity } from './metrics.ts'

// Of class 1: 3 hits, 1 false alarm, 2 misses; of class 0: 2 hits, 2 false alarms, 1 miss.
const LABELS = [1, 1, 1, 1, 1, 0, 0, 0]
const PREDICTIONS = [1, 1, 1, 0, 0, 1, 0, 0]

// Rows: true 0: 2 0 0; true 1: 0 0 1; true 2: 0 2 1.
const THREE_LABELS = [0, 0, 1, 2, 2, 2]
const THREE_PREDICTIONS = [0, 0, 2, 1, 1, 2]

describe('metrics', () => {
  it('accuracy is the share that is right', () => {
    expect(accuracy(PREDICTIONS, LABELS)).toBe(5 / 8)
    expect(accuracy(THREE_PREDICTIONS, THREE_LABELS)).toBe(1 / 2)
  })

  it('binary F1 is of the positive class', () => {
    expect(f1Score(PREDICTIONS, LABELS)).toBeCloseTo(6 / 9, 12)
    expect(f1Score(PREDICTIONS, LABELS, { posLabel: 0 })).toBeCloseTo(4 / 7, 12)
  })

  it('macro F1 is the plain mean over classes', () => {
    expect(f1Score(PREDICTIONS, LABELS, { average: 'macro' })).toBeCloseTo((6 / 9 + 4 / 7) / 2, 12)
    expect(f1Score(THREE_PREDICTIONS, THREE_LABELS, { average: 'macro' })).toBeCloseTo((1 + 0 + 2 / 5) / 3, 12)
  })

  it('F1 is 0 for a class that occurs nowhere', () => {
    expect(f1Score([0, 0], [0, 0])).toBe(0)
  })

  it("Matthews' correlation agrees with the formula of two classes", () => {
    const [tp, tn, fp, fn] = [3, 2, 1, 2]
    const expected = (tp * tn - fp * fn) / Math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    expect(matthewsCorrelation(PREDICTIONS, LABELS)).toBeCloseTo(expected, 12)
  })

  it("Matthews' correlation of three classes is Gorodkin's R_K", () => {
    // (3*6 - (2*2 + 2*1 + 2*3)) / sqrt((36 - 12) (36 - 14))
    expect(matthewsCorrelation(THREE_PREDICTIONS, THREE_LABELS)).toBeCloseTo(6 / Math.sqrt(24 * 22), 12)
  })

  it("Matthews' correlation is 0 for a constant prediction, 1 for a perfect one, -1 for the opposite", () => {
    expect(matthewsCorrelation([1, 1, 1], [0, 1, 1])).toBe(0)
    expect(matthewsCorrelation([0, 1, 1], [0, 1, 1])).toBe(1)
    expect(matthewsCorrelation([1, 0, 0], [0, 1, 1])).toBe(-1)
  })

  it('stay in their ranges, and do not depend on the order of examples', () => {
    const pairs = fc.array(fc.tuple(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 3 })), {
      minLength: 1,
      maxLength: 30,
    })
    fc.assert(
      fc.property(pairs, examples => {
        const scores = (order: typeof examples) => {
          const [p, l] = [order.map(([a]) => a), order.map(([, b]) => b)]
          return [accuracy(p, l), f1Score(p, l, { average: 'macro' }), matthewsCorrelation(p, l)]
        }
        const [share, f1, correlation] = scores(examples)
        expect(share >= 0 && share <= 1 && f1 >= 0 && f1 <= 1 + 1e-12 && Math.abs(correlation) <= 1 + 1e-12).toBe(true)
        scores([...examples].reverse()).forEach((score, i) => {
          expect(score).toBeCloseTo([share, f1, correlation][i], 12)
        })
      }),
    )
  })

  it('perplexity is e to the loss', () => {
    expect(perplexity(Math.log(7))).toBeCloseTo(7, 12)
  })

  it('argmax takes the first of several, and NaN before numbers', () => {
    expect([argmax([1, 3, 3]), argmax([2]), argmax([]), argmax([1, Number.NaN, 9])]).toEqual([1, 0, -1, 1])
  })

  it('of a classifier leave out labels of -100, and have f1 for two classes only', () => {
    const rows = [
      [2, 1],
      [0, 1],
      [5, 0],
    ]
    expect(classificationMetrics(rows, [0, 1, -100])).toEqual({
      accuracy: 1,
      f1: 1,
      f1_macro: 1,
      matthews_correlation: 1,
    })
    expect(classificationMetrics([[0, 0, 1]], [2])).not.toHaveProperty('f1')
  })

  it('refuse no examples, and different numbers', () => {
    expect(() => accuracy([], [])).toThrow(/no predictions/)
    expect(() => f1Score([1], [1, 0])).toThrow(/1 predictions and 2 labels/)
  })
})
