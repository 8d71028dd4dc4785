/** @file Matrices that are products of two narrow ones: sums of them, and the nearest of a given rank. */
import { type Matrix, matrix, product, qr, svd, transposed } from './index.ts'

/** The matrix `b a`. */
export interface LowRank {
  /** `[rank, columns]` */
  a: Matrix
  /** `[rows, rank]` */
  b: Matrix
}

/** A product in a sum. */
export interface WeightedProduct extends LowRank {
  weight: number
}

/** The sum of `weight b a`, exactly: all a below each other, all b beside each other. Its rank is the sum of theirs. */
export function sideBySide(parts: readonly WeightedProduct[]): LowRank {
  const rank = parts.reduce((total, { a }) => total + a.rows, 0)
  const [{ a, b }] = parts
  const below = new Float32Array(rank * a.columns)
  const beside = new Float32Array(b.rows * rank)
  let at = 0
  for (const part of parts) {
    const { rows, columns, data } = part.b
    part.a.data.forEach((value, i) => {
      below[at * a.columns + i] = value * part.weight
    })
    for (let row = 0; row < rows; row++) {
      beside.set(data.subarray(row * columns, (row + 1) * columns), row * rank + at)
    }
    at += part.a.rows
  }
  return { a: matrix(rank, a.columns, below), b: matrix(b.rows, rank, beside) }
}

/**
 * The product of rank `rank` that is nearest to a matrix, as PEFT and AdapterHub share it out: `a` are the first right
 * singular vectors, `b` the left ones times their singular values. What a smaller matrix has not is zero.
 *
 * @throws when the matrix holds a number that is not finite
 */
export function nearestProduct(whole: Matrix, rank: number): LowRank {
  const { u, s, vt } = svd(whole)
  const kept = Math.min(rank, s.length)
  const a = new Float32Array(rank * vt.columns)
  a.set(vt.data.subarray(0, kept * vt.columns))
  const b = new Float32Array(u.rows * rank)
  for (let row = 0; row < u.rows; row++) {
    for (let k = 0; k < kept; k++) b[row * rank + k] = u.data[row * u.columns + k] * s[k]
  }
  return { a: matrix(rank, vt.columns, a), b: matrix(u.rows, rank, b) }
}

/** {@link nearestProduct} of a product, by a decomposition of matrices no larger than its own rank. */
export function reducedProduct({ a, b }: LowRank, rank: number): LowRank {
  const [left, right] = [qr(b), qr(transposed(a))]
  const inner = nearestProduct(product(left.r, transposed(right.r)), rank)
  return { a: product(inner.a, transposed(right.q)), b: product(left.q, inner.b) }
}
