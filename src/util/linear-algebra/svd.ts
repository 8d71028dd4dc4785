/** @file Singular value decomposition. */
import { Matrix as MlMatrix, SingularValueDecomposition } from 'ml-matrix'
import { factorColumns } from './householder.ts'
import { type Dense, dot, multiply, row, rowProducts, transposed, zeros } from './matrix.ts'
import { eigenPairs } from './symmetric.ts'

/** The factors of `a = Σ sᵢ uᵢ vᵢᵀ`, as rows, the singular values in descending order. */
export interface SingularTriplets {
  s: Float64Array
  /** One left singular vector a row. */
  u: Dense
  /** One right singular vector a row. */
  v: Dense
}

/** Up to this size the general algorithm is fast enough; it loses nothing on small singular values. */
const SMALL = 64

/** The thin decomposition of any matrix. */
export function singularTriplets(a: Dense): SingularTriplets {
  if (a.rows < a.columns) {
    const { s, u, v } = singularTriplets(transposed(a))
    return withFixedSigns({ s, u: v, v: u })
  }
  const triplets = a.columns <= SMALL ? bidiagonal(a) : throughGram(a)
  return withFixedSigns(sorted(triplets))
}

/** Golub and Reinsch's algorithm, on the triangular factor of a tall matrix. */
function bidiagonal(a: Dense): SingularTriplets {
  const { qColumns, r } = factorColumns(transposed(a))
  const rows = Array.from({ length: r.rows }, (_, i) => [...row(r, i)])
  const decomposition = new SingularValueDecomposition(new MlMatrix(rows), { autoTranspose: true })
  const turned = (factor: MlMatrix): Dense => ({
    rows: factor.columns,
    columns: factor.rows,
    data: Float64Array.from(factor.transpose().to1DArray()),
  })
  return {
    s: Float64Array.from(decomposition.diagonal),
    u: multiply(turned(decomposition.leftSingularVectors), qColumns),
    v: turned(decomposition.rightSingularVectors),
  }
}

/** From this ratio of the singular values downwards the left vectors need to be made orthogonal. */
const ILL_CONDITIONED = 1e-4

/**
 * Through the eigenvectors V of `aᵀ a`: the columns of `a V` are `sᵢ uᵢ`. In float64 the vectors are accurate to
 * float32 down to singular values of 1e-8 of the largest.
 */
function throughGram(a: Dense): SingularTriplets {
  const columns = transposed(a)
  const { vectors: v } = eigenPairs(rowProducts(columns))
  const u = multiply(v, columns)
  const s = Float64Array.from({ length: u.rows }, (_, i) => Math.sqrt(dot(row(u, i), row(u, i))))
  if (s[s.length - 1] > ILL_CONDITIONED * s[0]) {
    for (const [i, value] of s.entries()) scale(row(u, i), 1 / value)
    return { s, u, v }
  }
  const { qColumns, r } = factorColumns(u)
  for (let i = 0; i < s.length; i++) {
    const length = r.data[i * s.length + i]
    s[i] = Math.abs(length)
    if (length < 0) scale(row(qColumns, i), -1)
  }
  return { s, u: qColumns, v }
}

function scale(vector: Float64Array, factor: number): void {
  for (let i = 0; i < vector.length; i++) vector[i] *= factor
}

function sorted({ s, u, v }: SingularTriplets): SingularTriplets {
  const order = Array.from(s.keys()).sort((i, j) => s[j] - s[i] || i - j)
  const arranged = (a: Dense) => {
    const result = zeros(a.rows, a.columns)
    for (const [to, from] of order.entries()) row(result, to).set(row(a, from))
    return result
  }
  return { s: Float64Array.from(order, i => s[i]), u: arranged(u), v: arranged(v) }
}

/** Chooses between (u, v) and (-u, -v): the element of u of largest magnitude, the first of equals, is positive. */
function withFixedSigns(triplets: SingularTriplets): SingularTriplets {
  for (let i = 0; i < triplets.s.length; i++) {
    const [u, v] = [row(triplets.u, i), row(triplets.v, i)]
    let largest = 0
    for (const value of u) if (Math.abs(value) > Math.abs(largest)) largest = value
    if (largest >= 0) continue
    scale(u, -1)
    scale(v, -1)
  }
  return triplets
}
