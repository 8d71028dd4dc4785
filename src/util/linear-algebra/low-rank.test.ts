/** @file Products of narrow matrices: exact sums, and the nearest of a rank. */
import { describe, expect, it } from 'vitest'
import { Random } from '../random.ts'
import { type Matrix, matrix, product, svd } from './index.ts'
import { nearestProduct, reducedProduct, sideBySide } from './low-rank.ts'

const random = Random.forName('low-rank', 0)
const drawn = (rows: number, columns: number) =>
  matrix(
    rows,
    columns,
    Array.from({ length: rows * columns }, () => random.normal()),
  )
const distance = (a: Matrix, b: Matrix) => Math.hypot(...a.data.map((value, i) => value - b.data[i]))

const parts = [
  { a: drawn(2, 6), b: drawn(5, 2), weight: 0.75 },
  { a: drawn(3, 6), b: drawn(5, 3), weight: -2 },
]
const whole = matrix(
  5,
  6,
  product(parts[0].b, parts[0].a).data.map((value, i) => {
    return 0.75 * value - 2 * product(parts[1].b, parts[1].a).data[i]
  }),
)

describe('sideBySide', () => {
  it('is the weighted sum of the products', () => {
    const { a, b } = sideBySide(parts)
    expect([a.rows, b.columns]).toEqual([5, 5])
    expect(distance(product(b, a), whole)).toBeLessThan(1e-5)
  })
})

describe('nearestProduct', () => {
  it.each([1, 2, 4])('of rank %i misses what the other singular values hold, and no more', rank => {
    const { a, b } = nearestProduct(whole, rank)
    expect([a.rows, a.columns, b.rows, b.columns]).toEqual([rank, 6, 5, rank])
    expect(distance(product(b, a), whole)).toBeCloseTo(Math.hypot(...svd(whole).s.slice(rank)), 4)
  })

  it('fills a rank that the matrix does not have with zeros', () => {
    const { a, b } = nearestProduct(whole, 8)
    expect([a.rows, b.columns]).toEqual([8, 8])
    expect(a.data.slice(5 * 6).every(value => value === 0)).toBe(true)
    expect(distance(product(b, a), whole)).toBeLessThan(1e-5)
  })
})

describe('reducedProduct', () => {
  it.each([1, 3, 5, 7])('of rank %i is what the whole matrix gives', rank => {
    const reduced = reducedProduct(sideBySide(parts), rank)
    const nearest = nearestProduct(whole, rank)
    expect(distance(product(reduced.b, reduced.a), product(nearest.b, nearest.a))).toBeLessThan(1e-4)
    expect(reduced.a.rows).toBe(rank)
  })
})
