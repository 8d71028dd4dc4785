/** @file Factorisations: what they promise, for random matrices of every shape and rank. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Random } from '../random.ts'
import {
  inverse,
  type Matrix,
  matrix,
  product,
  qr,
  randomOrthogonal,
  type Svd,
  svd,
  svdLowRank,
  symmetricEigen,
  transposed,
} from './index.ts'

const normal = (rows: number, columns: number, seed: number): Matrix => {
  const random = new Random(seed)
  return matrix(
    rows,
    columns,
    Array.from({ length: rows * columns }, () => random.normal()),
  )
}
const identity = (n: number) =>
  matrix(
    n,
    n,
    Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0)),
  )
const scaledColumns = (a: Matrix, factors: ArrayLike<number>) =>
  matrix(
    a.rows,
    a.columns,
    a.data.map((value, i) => value * factors[i % a.columns]),
  )
const composed = ({ u, s, vt }: Svd) => product(scaledColumns(u, s), vt)
const largest = (a: Matrix) => a.data.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
const distance = (a: Matrix, b: Matrix) => {
  expect([a.rows, a.columns]).toEqual([b.rows, b.columns])
  return a.data.reduce((most, value, i) => Math.max(most, Math.abs(value - b.data[i])), 0)
}
const expectOrthonormalColumns = (a: Matrix) =>
  expect(distance(product(transposed(a), a), identity(a.columns))).toBeLessThan(1e-6)

/** A matrix with these singular values. */
const withSingularValues = (rows: number, columns: number, s: readonly number[], seed: number) => {
  const u = randomOrthogonal(rows, s.length, new Random(seed))
  const v = randomOrthogonal(columns, s.length, new Random(seed + 1))
  return product(scaledColumns(u, s), transposed(v))
}

const size = fc.integer({ min: 1, max: 12 })
const anyMatrix = fc
  .tuple(size, size)
  .chain(([rows, columns]) =>
    fc
      .array(fc.float({ min: -100, max: 100, noNaN: true }), { minLength: rows * columns, maxLength: rows * columns })
      .map(data => matrix(rows, columns, data)),
  )
/** Matrices whose rows repeat, so that they lack rank. */
const repeating = fc
  .tuple(anyMatrix, fc.integer({ min: 2, max: 3 }))
  .map(([a, times]) => matrix(a.rows * times, a.columns, Array.from({ length: times }, () => [...a.data]).flat()))
const anyShape = fc.oneof(anyMatrix, repeating, repeating.map(transposed))

function expectSvd(a: Matrix, found: Svd, tolerance = 1e-6): void {
  const k = Math.min(a.rows, a.columns)
  expect([found.u.rows, found.u.columns, found.s.length, found.vt.rows, found.vt.columns]).toEqual([
    ...[a.rows, k, k, k, a.columns],
  ])
  expectOrthonormalColumns(found.u)
  expectOrthonormalColumns(transposed(found.vt))
  expect(distance(composed(found), a)).toBeLessThanOrEqual(tolerance * Math.max(found.s[0], Number.MIN_VALUE))
  for (let i = 0; i < k; i++) {
    expect(found.s[i]).toBeGreaterThanOrEqual(0)
    if (i > 0) expect(found.s[i]).toBeLessThanOrEqual(found.s[i - 1])
  }
}

describe('svd', () => {
  it('reconstructs with orthonormal factors and ordered values, whatever the shape and the rank', () => {
    fc.assert(fc.property(anyShape, a => expectSvd(a, svd(a))))
  })

  it.each([
    ['square', 100, 100],
    ['tall', 180, 90],
    ['wide', 90, 180],
  ] as const)('does so for a larger %s matrix', (_, rows, columns) => {
    const a = normal(rows, columns, rows)
    expectSvd(a, svd(a))
  })

  const hard: Record<string, (row: number, column: number) => number> = {
    'all ones': () => 1,
    'small integers that repeat': (row, column) => (row * 7 + column) % 3,
    'the identity': (row, column) => (row === column ? 1 : 0),
    'a single element': (row, column) => (row === 7 && column === 11 ? 1e-20 : 0),
    'columns from 1 to 1e-30': (row, column) => Math.sin(row * 90 + column) * 10 ** (-column / 3),
    'rows from 1e-30 to 1': (row, column) => Math.sin(row * 90 + column) * 10 ** (row / 3 - 30),
    'the matrix of Hilbert': (row, column) => 1 / (1 + row + column),
    'two diagonals': (row, column) => (Math.abs(row - column) === 1 ? 1 : 0),
  }
  it.each(Object.entries(hard))('does so for %s', (_, element) => {
    for (const n of [20, 90]) {
      const elements = Array.from({ length: n * n }, (__, i) => element(Math.floor(i / n), i % n))
      const a = matrix(n, n, elements)
      expectSvd(a, svd(a))
    }
  })

  it.each([8, 90])('finds given singular values, tiny ones and zeros among them, of %s columns', columns => {
    const s = Array.from({ length: columns }, (_, i) => (i < columns - 3 ? 10 * 0.8 ** i : 0))
    const a = withSingularValues(100, columns, s, 3)
    const found = svd(a)
    expectSvd(a, found)
    for (const [i, value] of s.entries()) expect(Math.abs(found.s[i] - value)).toBeLessThan(1e-5)
  })

  it.each([5, 90])('finds the vectors of distinct singular values, up to their common sign, of %s columns', columns => {
    const s = Array.from({ length: columns }, (_, i) => 2 * columns - i)
    const u = randomOrthogonal(100, columns, new Random(8))
    const v = randomOrthogonal(columns, columns, new Random(9))
    const found = svd(product(scaledColumns(u, s), transposed(v)))
    const cosines = product(transposed(u), found.u)
    const others = product(found.vt, v)
    for (let i = 0; i < columns; i++) {
      const cosine = cosines.data[i * (columns + 1)]
      expect(Math.abs(cosine)).toBeCloseTo(1, 4)
      expect(others.data[i * (columns + 1)]).toBeCloseTo(cosine, 4)
    }
  })

  it.each([6, 80])('fixes the signs by the largest element of each left vector (%s columns)', columns => {
    const { u } = svd(normal(columns + 5, columns, 4))
    for (let j = 0; j < columns; j++) {
      const column = Array.from({ length: u.rows }, (_, i) => u.data[i * columns + j])
      expect(column.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a), 0)).toBeGreaterThan(0)
    }
  })

  it('of zeros is zero, with orthonormal factors all the same', () => {
    for (const n of [3, 70]) {
      const found = svd(matrix(n + 1, n, new Float32Array((n + 1) * n)))
      expect(found.s.every(value => value === 0)).toBe(true)
      expectOrthonormalColumns(found.u)
      expectOrthonormalColumns(transposed(found.vt))
    }
  })

  it('keeps to tiny and huge numbers', () => {
    for (const scale of [1e-30, 1e30]) {
      for (const n of [4, 70]) {
        const a = normal(n, n, 6)
        const found = svd(
          matrix(
            n,
            n,
            a.data.map(value => value * scale),
          ),
        )
        const expected = svd(a)
        for (let i = 0; i < n; i++) expect(found.s[i] / scale).toBeCloseTo(expected.s[i], 4)
      }
    }
  })

  it('refuses numbers that are not finite, and says where', () => {
    expect(() => svd(matrix(2, 3, [0, 1, 2, 3, Number.NaN, 5]))).toThrow('NaN in row 1, column 1')
  })
})

describe('svdLowRank', () => {
  const s = Array.from({ length: 40 }, (_, i) => 10 * 0.7 ** i)

  it.each([
    ['tall', 60, 40],
    ['wide', 40, 60],
  ] as const)('approaches the largest triplets of a %s matrix with each pass', (_, rows, columns) => {
    const a = withSingularValues(rows, columns, s, 1)
    const exact = svd(a)
    const error = (niter: number) => {
      const found = svdLowRank(a, 5, niter, new Random(77))
      expect([found.u.columns, found.s.length, found.vt.rows]).toEqual([5, 5, 5])
      expectOrthonormalColumns(found.u)
      expectOrthonormalColumns(transposed(found.vt))
      return Math.max(...found.s.map((value, i) => Math.abs(value - exact.s[i]) / exact.s[i]))
    }
    expect(error(0)).toBeGreaterThan(error(2))
    expect(error(2)).toBeGreaterThan(error(20))
    expect(error(20)).toBeLessThan(1e-5)
  })

  it('is exact where the matrix has no more than that rank', () => {
    const a = withSingularValues(30, 20, [3, 2, 1], 5)
    for (const rank of [3, 7]) {
      expect(distance(composed(svdLowRank(a, rank, 1, new Random(77))), a)).toBeLessThan(1e-5)
    }
  })

  it('repeats itself for a seed', () => {
    const a = normal(20, 10, 1)
    const found = (seed: number) => svdLowRank(a, 3, 1, new Random(seed)).u.data
    expect(found(1)).toEqual(found(1))
    expect(found(1)).not.toEqual(found(2))
  })

  it('refuses ranks that the matrix cannot have', () => {
    const a = normal(4, 3, 1)
    expect(() => svdLowRank(a, 4, 1, new Random(0))).toThrow('the rank must be from 1 to 3, got 4')
    expect(() => svdLowRank(a, 0, 1, new Random(0))).toThrow('got 0')
    expect(() => svdLowRank(a, 1, -1, new Random(0))).toThrow('niter must be an integer from 0 upwards, got -1')
  })
})

describe('qr', () => {
  it('reconstructs from orthonormal columns and a triangle, whatever the shape and the rank', () => {
    fc.assert(
      fc.property(anyShape, a => {
        const { q, r } = qr(a)
        expectOrthonormalColumns(q)
        expect(distance(product(q, r), a)).toBeLessThanOrEqual(1e-5 * Math.max(1, largest(a)))
        for (let i = 0; i < r.rows; i++) for (let j = 0; j < i; j++) expect(r.data[i * r.columns + j]).toBe(0)
      }),
    )
  })

  it('does so over several panels', () => {
    const a = normal(61, 53, 2)
    const { q, r } = qr(a)
    expectOrthonormalColumns(q)
    expect(distance(product(q, r), a)).toBeLessThan(1e-5)
  })

  it('has the signs of torch.linalg.qr: against the first element of what is left of a column', () => {
    // The columns (3, 4) and (1, 7) span the plane; 3-4-5 triangles throughout.
    const { q, r } = qr(matrix(2, 2, [3, 1, 4, 7]))
    const expected = { q: [-0.6, -0.8, -0.8, 0.6], r: [-5, -6.2, 0, 3.4] }
    for (const [i, value] of expected.q.entries()) expect(q.data[i]).toBeCloseTo(value, 6)
    for (const [i, value] of expected.r.entries()) expect(r.data[i]).toBeCloseTo(value, 6)
  })
})

describe('symmetricEigen', () => {
  it('gives descending values and orthonormal vectors that the matrix stretches by them', () => {
    fc.assert(
      fc.property(anyShape, source => {
        const a = product(source, transposed(source))
        const { values, vectors } = symmetricEigen(a)
        expectOrthonormalColumns(vectors)
        const stretched = scaledColumns(vectors, values)
        const scale = Math.max(1, largest(a))
        expect(distance(product(a, vectors), stretched)).toBeLessThan(2e-5 * scale)
        for (let i = 1; i < values.length; i++) expect(values[i]).toBeLessThanOrEqual(values[i - 1])
      }),
    )
  })

  it('finds negative values too', () => {
    const { values } = symmetricEigen(matrix(3, 3, [0, 1, 0, 1, 0, 0, 0, 0, -3]))
    expect([...values].map(value => Math.round(value * 1e5) / 1e5)).toEqual([1, -1, -3])
  })

  it('refuses what is not symmetric', () => {
    expect(() => symmetricEigen(matrix(2, 2, [1, 2, 3, 4]))).toThrow('row 1, column 0 is 3, its mirror image 2')
    expect(() => symmetricEigen(matrix(1, 2, [1, 2]))).toThrow('expected a square matrix, got 1 x 2')
  })
})

describe('randomOrthogonal', () => {
  it('has orthonormal columns, or rows where it is wide, and differs between seeds', () => {
    fc.assert(
      fc.property(size, size, fc.nat(), (rows, columns, seed) => {
        const a = randomOrthogonal(rows, columns, new Random(seed))
        expect([a.rows, a.columns]).toEqual([rows, columns])
        expectOrthonormalColumns(rows >= columns ? a : transposed(a))
      }),
    )
    expect(randomOrthogonal(4, 4, new Random(1)).data).not.toEqual(randomOrthogonal(4, 4, new Random(2)).data)
  })

  it('is not drawn to one side: each element is 0 on average', () => {
    const random = new Random(3)
    const total = new Float64Array(4)
    for (let i = 0; i < 2000; i++)
      for (const [j, value] of randomOrthogonal(2, 2, random).data.entries()) total[j] += value
    for (const sum of total) expect(Math.abs(sum / 2000)).toBeLessThan(0.06)
  })
})

describe('inverse and product', () => {
  it('undo each other', () => {
    const a = withSingularValues(
      12,
      12,
      Array.from({ length: 12 }, (_, i) => i + 1),
      7,
    )
    expect(distance(product(a, inverse(a)), identity(12))).toBeLessThan(1e-5)
  })

  it('refuse what has no result', () => {
    expect(() => inverse(matrix(2, 2, [1, 2, 2, 4]))).toThrow('the 2 x 2 matrix is singular')
    expect(() => inverse(matrix(1, 2, [1, 2]))).toThrow('expected a square matrix')
    expect(() => product(normal(2, 3, 1), normal(2, 3, 1))).toThrow('a has 3 columns, b has 2 rows')
    expect(() => matrix(2, 2, [1])).toThrow('takes 4 numbers, got 1')
  })

  it('multiply as the definition says, over several blocks', () => {
    fc.assert(
      fc.property(size, size, size, (m, k, n) => {
        const [a, b] = [normal(m, k, 1), normal(k, n, 2)]
        const expected = Array.from({ length: m * n }, (_, at) => {
          const [i, j] = [Math.floor(at / n), at % n]
          return Array.from({ length: k }, (_, t) => a.data[i * k + t] * b.data[t * n + j]).reduce((x, y) => x + y, 0)
        })
        expect(distance(product(a, b), matrix(m, n, expected))).toBeLessThan(1e-5)
      }),
    )
    const [a, b] = [normal(3, 70, 1), normal(70, 600, 2)]
    const right = product(a, b)
    const turned = transposed(product(transposed(b), transposed(a)))
    expect(distance(right, turned)).toBeLessThan(1e-5)
  })
})
