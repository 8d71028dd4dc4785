/** @file Orthogonal-triangular factorisation by Householder reflections. */
import { addScaled, type Dense, dot, row, zeros } from './matrix.ts'

/** The thin factors of a matrix given by its columns; `q` is given by its columns as well. */
export interface TriangularFactors {
  /** `columns x rows`: each row is one column of the orthogonal factor. */
  qColumns: Dense
  /** `columns x columns`, upper triangular. */
  r: Dense
}

/**
 * A reflection that maps `x` to `[alpha, 0, ...]`: x becomes the vector v of `1 - factor v vᵀ`. The sign of alpha is
 * the opposite of the first element's, as LAPACK has it; where nothing is to be done the factor is 0.
 */
export function reflectOnto(x: Float64Array): { alpha: number; factor: number } {
  let largest = 0
  for (let i = 1; i < x.length; i++) largest = Math.max(largest, Math.abs(x[i]))
  if (largest === 0) return { alpha: x[0], factor: 0 }
  // Relative to the largest element nothing overflows, and nothing loses its digits near zero.
  const scale = Math.max(largest, Math.abs(x[0]))
  const first = x[0] / scale
  let square = 0
  for (let i = 0; i < x.length; i++) {
    const value = x[i] / scale
    square += value * value
  }
  const alpha = first >= 0 ? -Math.sqrt(square) : Math.sqrt(square)
  const lead = first - alpha
  for (let i = 1; i < x.length; i++) x[i] = x[i] / scale / lead
  x[0] = 1
  return { alpha: scale * alpha, factor: -lead / alpha }
}

/** Columns that are worked on together, so that they stay in the processor's cache. */
const PANEL = 16

/** Applies `1 - factor v vᵀ`, v standing from position `start`, to lists, four of them in one pass. */
function reflect(
  lists: readonly Float64Array[],
  from: number,
  to: number,
  v: Float64Array,
  factor: number,
  start: number,
): void {
  if (factor === 0) return
  const length = v.length
  let index = from
  for (; index + 3 < to; index += 4) {
    const a = lists[index]
    const b = lists[index + 1]
    const c = lists[index + 2]
    const d = lists[index + 3]
    let sa = 0
    let sb = 0
    let sc = 0
    let sd = 0
    for (let i = start; i < length; i++) {
      const value = v[i]
      sa += a[i] * value
      sb += b[i] * value
      sc += c[i] * value
      sd += d[i] * value
    }
    sa *= factor
    sb *= factor
    sc *= factor
    sd *= factor
    for (let i = start; i < length; i++) {
      const value = v[i]
      a[i] -= sa * value
      b[i] -= sb * value
      c[i] -= sc * value
      d[i] -= sd * value
    }
  }
  for (; index < to; index++) {
    const tail = lists[index].subarray(start)
    const vTail = v.subarray(start)
    addScaled(tail, -factor * dot(tail, vTail), vTail)
  }
}

/**
 * The thin factors of a matrix with at least as many rows as columns. The signs are those of LAPACK, and so of
 * `torch.linalg.qr`; the orthogonal factor has orthonormal columns even where the matrix lacks rank.
 *
 * @param columns the matrix transposed: one of its columns a row. It is overwritten.
 */
export function factorColumns(columns: Dense): TriangularFactors {
  const count = columns.rows
  const r = zeros(count, count)
  const factors = new Float64Array(count)
  const lists = Array.from({ length: count }, (_, i) => row(columns, i))
  for (let first = 0; first < count; first += PANEL) {
    const end = Math.min(first + PANEL, count)
    for (let k = 0; k < first; k++) reflect(lists, first, end, lists[k], factors[k], k)
    for (let k = first; k < end; k++) {
      const list = lists[k]
      for (let i = 0; i < k; i++) r.data[i * count + k] = list[i]
      const { alpha, factor } = reflectOnto(list.subarray(k))
      r.data[k * count + k] = alpha
      factors[k] = factor
      reflect(lists, k + 1, end, list, factor, k)
    }
  }
  const qColumns = zeros(count, columns.columns)
  const results = Array.from({ length: count }, (_, i) => row(qColumns, i))
  for (let first = 0; first < count; first += PANEL) {
    const end = Math.min(first + PANEL, count)
    for (let k = first; k < end; k++) results[k][k] = 1
    for (let k = end - 1; k >= 0; k--) reflect(results, Math.max(first, k), end, lists[k], factors[k], k)
  }
  return { qColumns, r }
}
