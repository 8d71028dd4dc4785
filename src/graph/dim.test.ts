/** @file Dimensions: their arithmetic agrees with that of numbers, and equal polynomials have one spelling. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  addDims,
  broadcastShapes,
  canonicalDim,
  type Dim,
  dimNames,
  dimTerms,
  divideDims,
  evaluateDim,
  multiplyDims,
  sizeOf,
  subtractDims,
} from './dim.ts'

const name = fc.constantFrom('batch', 'sequence', 'past', 'layer.0')
const term = fc
  .tuple(fc.integer({ min: -4, max: 4 }), fc.array(name, { maxLength: 2 }))
  .map(([coefficient, names]) => [coefficient, ...names].join('*'))
const dim: fc.Arbitrary<Dim> = fc.oneof(
  fc.integer({ min: -5, max: 9 }),
  name,
  fc.array(term, { minLength: 1, maxLength: 3 }).map(terms => terms.join('+')),
)
const bindings = fc.record({
  batch: fc.integer({ min: 0, max: 7 }),
  sequence: fc.integer({ min: 0, max: 7 }),
  past: fc.integer({ min: 0, max: 7 }),
  'layer.0': fc.integer({ min: 0, max: 7 }),
})

describe('dimensions', () => {
  it('evaluate as the numbers do after adding, subtracting and multiplying', () => {
    fc.assert(
      fc.property(dim, dim, bindings, (a, b, values) => {
        const [x, y] = [evaluateDim(a, values), evaluateDim(b, values)]
        expect(evaluateDim(addDims(a, b), values)).toBe(x + y)
        expect(evaluateDim(subtractDims(a, b), values)).toBe(x - y)
        expect(evaluateDim(multiplyDims(a, b), values)).toBe(x * y + 0)
        expect(evaluateDim(canonicalDim(a), values)).toBe(x)
      }),
    )
  })

  it('have one spelling, whatever the order they were built in', () => {
    fc.assert(
      fc.property(dim, dim, dim, (a, b, c) => {
        expect(addDims(a, b, c)).toBe(addDims(c, addDims(b, a)))
        expect(multiplyDims(a, b, c)).toBe(multiplyDims(multiplyDims(c, a), b))
        expect(multiplyDims(a, addDims(b, c))).toBe(addDims(multiplyDims(a, b), multiplyDims(a, c)))
        expect(canonicalDim(canonicalDim(a))).toBe(canonicalDim(a))
        expect(subtractDims(addDims(a, b), b)).toBe(canonicalDim(a))
      }),
    )
  })

  it('divide exactly or not at all', () => {
    fc.assert(
      fc.property(dim, dim, bindings, (a, b, values) => {
        const quotient = divideDims(a, b)
        if (quotient !== undefined) expect(multiplyDims(quotient, b)).toBe(canonicalDim(a))
        const factor = evaluateDim(b, values)
        if (quotient !== undefined && factor !== 0) {
          expect(evaluateDim(quotient, values)).toBe(evaluateDim(a, values) / factor + 0)
        }
      }),
    )
    fc.assert(
      fc.property(dim, dim, (a, b) => {
        fc.pre(canonicalDim(b) !== 0)
        expect(divideDims(multiplyDims(a, b), b)).toBe(canonicalDim(a))
      }),
    )
  })

  it('do not divide by zero or with a remainder', () => {
    expect(divideDims(0, 0)).toBeUndefined()
    expect(divideDims('batch', 0)).toBeUndefined()
    expect(divideDims('batch*past', 'batch+past')).toBeUndefined()
    expect(divideDims('3*batch', 2)).toBeUndefined()
    expect(divideDims('batch', 'sequence')).toBeUndefined()
    expect(divideDims('batch*past+batch*sequence', 'past+sequence')).toBe('batch')
  })

  it('are written as people write them', () => {
    expect(addDims('sequence', 'past')).toBe('past+sequence')
    expect(multiplyDims('sequence', 2, 'batch')).toBe('2*batch*sequence')
    expect(addDims('batch', 1)).toBe('batch+1')
    expect(subtractDims('batch', 'batch')).toBe(0)
    expect(canonicalDim('2*3')).toBe(6)
    expect(sizeOf(['batch', 3, 'batch'])).toBe('3*batch*batch')
    expect(sizeOf([])).toBe(1)
  })

  it('name what they are made of', () => {
    expect(dimNames('2*batch*past+batch+3').sort()).toEqual(['batch', 'past'])
    expect(dimTerms('2*batch+3')).toEqual([
      { names: ['batch'], coefficient: 2 },
      { names: [], coefficient: 3 },
    ])
  })

  it.each(['', 'a-b', '3x', 'a++b', 'a*', ' a'])('refuse "%s"', text => {
    expect(() => canonicalDim(text)).toThrow(`"${text}" is not a dimension`)
  })

  it('say which name has no value', () => {
    expect(() => evaluateDim('batch*past', { batch: 2 })).toThrow('"past" has no value; known are batch')
    expect(() => evaluateDim('batch', {})).toThrow('known are none')
  })
})

describe('broadcasting', () => {
  it('takes the other length where one is 1 or missing', () => {
    expect(broadcastShapes(['batch', 1, 3], [4, 1])).toEqual(['batch', 4, 3])
    expect(broadcastShapes([], ['batch'])).toEqual(['batch'])
    expect(broadcastShapes([0], [1])).toEqual([0])
  })

  it('refuses lengths that differ, named ones included', () => {
    expect(() => broadcastShapes([2, 3], [2, 4])).toThrow('Shapes [2, 3] and [2, 4] cannot be broadcast together')
    expect(() => broadcastShapes(['batch'], ['sequence'])).toThrow('cannot be broadcast')
    expect(() => broadcastShapes(['batch'], [4])).toThrow('cannot be broadcast')
  })

  it('does not depend on the order of the shapes', () => {
    const shape = fc.array(fc.constantFrom<Dim>(1, 3, 'batch'), { maxLength: 3 })
    const attempt = (...shapes: Dim[][]) => {
      try {
        return broadcastShapes(...shapes)
      } catch {
        return 'refused'
      }
    }
    fc.assert(fc.property(shape, shape, (a, b) => void expect(attempt(a, b)).toEqual(attempt(b, a))))
  })
})
