/** @file Linear algebra on float32 matrices, computed in float64: SVD, QR, eigenvectors, inverse. */
import { Matrix as MlMatrix, inverse as mlInverse } from 'ml-matrix'
import type { Random } from '../random.ts'
import { factorColumns } from './householder.ts'
import { type Dense, fromDense, type Matrix, matrix, multiply, row, toDense, transposed } from './matrix.ts'
import { type SingularTriplets, singularTriplets } from './svd.ts'
import { eigenPairs } from './symmetric.ts'

export { type Matrix, matrix, transposed } from './matrix.ts'

/** A thin singular value decomposition, `a = u diag(s) vt`. */
export interface Svd {
  /** `[rows, k]`, orthonormal columns. */
  u: Matrix
  /** The `k` singular values, in descending order. */
  s: Float32Array
  /** `[k, columns]`, orthonormal rows. */
  vt: Matrix
}

const toSvd = ({ s, u, v }: SingularTriplets): Svd => ({
  u: fromDense(transposed(u)),
  s: Float32Array.from(s),
  vt: fromDense(v),
})

/**
 * The thin singular value decomposition, with `k = min(rows, columns)`. The signs are fixed: in each column of u the
 * element of largest magnitude is positive.
 *
 * @throws when the matrix holds a number that is not finite
 */
export function svd(a: Matrix): Svd {
  return toSvd(singularTriplets(toDense(a)))
}

/**
 * The largest `rank` singular triplets, by subspace iteration from random vectors (arXiv 0909.4061, algorithms 4.4 and
 * 5.1), as `torch.svd_lowrank` finds them.
 *
 * @param rank from 1 to the smaller side
 * @param niter passes over the matrix and its transpose; more of them bring the result closer to that of {@link svd}
 * @throws when the rank is out of range, or the matrix holds a number that is not finite
 */
export function svdLowRank(a: Matrix, rank: number, niter: number, random: Random): Svd {
  if (!(Number.isInteger(rank) && rank >= 1 && rank <= Math.min(a.rows, a.columns))) {
    throw new Error(`svdLowRank: the rank must be from 1 to ${Math.min(a.rows, a.columns)}, got ${rank}`)
  }
  if (!(Number.isInteger(niter) && niter >= 0)) {
    throw new Error(`svdLowRank: niter must be an integer from 0 upwards, got ${niter}`)
  }
  const dense = toDense(a)
  const turned = transposed(dense)
  const start: Dense = {
    rows: rank,
    columns: a.columns,
    data: Float64Array.from({ length: rank * a.columns }, () => random.normal()),
  }
  // Bases are kept as rows: the basis of the column space is what `start aᵀ` spans.
  const spanOf = (rows: Dense) => factorColumns(rows).qColumns
  let basis = spanOf(multiply(start, turned))
  for (let i = 0; i < niter; i++) basis = spanOf(multiply(spanOf(multiply(basis, dense)), turned))
  const { s, u, v } = singularTriplets(multiply(basis, dense))
  return toSvd({ s, u: multiply(u, basis), v })
}

/** An orthogonal-triangular factorisation, `a = q r`. */
export interface Qr {
  /** `[rows, k]`, orthonormal columns. */
  q: Matrix
  /** `[k, columns]`, upper triangular. */
  r: Matrix
}

/**
 * The thin QR factorisation, with `k = min(rows, columns)` and the signs of `torch.linalg.qr`.
 *
 * @throws when the matrix holds a number that is not finite
 */
export function qr(a: Matrix): Qr {
  const columns = transposed(toDense(a))
  if (a.rows >= a.columns) {
    const { qColumns, r } = factorColumns(columns)
    return { q: fromDense(transposed(qColumns)), r: fromDense(r) }
  }
  const square: Dense = { rows: a.rows, columns: a.rows, data: columns.data.slice(0, a.rows * a.rows) }
  const { qColumns } = factorColumns(square)
  const r = multiply(qColumns, transposed(columns))
  for (let i = 0; i < a.rows; i++) r.data.fill(0, i * a.columns, i * a.columns + i)
  return { q: fromDense(transposed(qColumns)), r: fromDense(r) }
}

/**
 * The eigenvalues of a symmetric matrix in descending order, and its unit eigenvectors as columns.
 *
 * @throws when the matrix is not square and symmetric, or holds a number that is not finite
 */
export function symmetricEigen(a: Matrix): { values: Float32Array; vectors: Matrix } {
  requireSquare('symmetricEigen', a)
  for (let i = 0; i < a.rows; i++) {
    for (let j = 0; j < i; j++) {
      const [below, above] = [a.data[i * a.rows + j], a.data[j * a.rows + i]]
      if (below !== above) {
        throw new Error(
          `symmetricEigen: row ${i}, column ${j} is ${below}, its mirror image ${above}; expected a symmetric matrix`,
        )
      }
    }
  }
  const { values, vectors } = eigenPairs(toDense(a))
  return { values: Float32Array.from(values), vectors: fromDense(transposed(vectors)) }
}

/**
 * A random matrix with orthonormal columns, or rows where it is wide, uniform among all of them: what
 * `torch.nn.init.orthogonal_` draws.
 */
export function randomOrthogonal(rows: number, columns: number, random: Random): Matrix {
  const [length, count] = [Math.max(rows, columns), Math.min(rows, columns)]
  const data = Float64Array.from({ length: length * count }, () => random.normal())
  const { qColumns, r } = factorColumns({ rows: count, columns: length, data })
  for (let i = 0; i < count; i++) {
    if (r.data[i * count + i] >= 0) continue
    const vector = row(qColumns, i)
    for (let j = 0; j < length; j++) vector[j] = -vector[j]
  }
  return fromDense(rows >= columns ? transposed(qColumns) : qColumns)
}

/**
 * The inverse of a square matrix.
 *
 * @throws when the matrix is not square, is singular, or holds a number that is not finite
 */
export function inverse(a: Matrix): Matrix {
  requireSquare('inverse', a)
  const dense = toDense(a)
  const rows = Array.from({ length: a.rows }, (_, i) => [...row(dense, i)])
  let result: MlMatrix
  try {
    result = mlInverse(new MlMatrix(rows))
  } catch (cause) {
    throw new Error(`inverse: the ${a.rows} x ${a.rows} matrix is singular; it has no inverse`, { cause })
  }
  return matrix(a.rows, a.rows, Float32Array.from(result.to1DArray()))
}

/**
 * The product `a b`.
 *
 * @throws when the columns of a are not as many as the rows of b
 */
export function product(a: Matrix, b: Matrix): Matrix {
  if (a.columns !== b.rows) {
    throw new Error(`product: a has ${a.columns} columns, b has ${b.rows} rows; expected as many`)
  }
  const result = new Float32Array(a.rows * b.columns)
  const [left, right] = [
    { ...a, data: Float64Array.from(a.data) },
    { ...b, data: Float64Array.from(b.data) },
  ]
  result.set(multiply(left, right).data)
  return matrix(a.rows, b.columns, result)
}

function requireSquare(what: string, a: Matrix): void {
  if (a.rows !== a.columns) throw new Error(`${what}: expected a square matrix, got ${a.rows} x ${a.columns}`)
}
