/** @file Eigenvalues and eigenvectors of symmetric matrices: reduction to tridiagonal form, then implicit QL steps. */
import { reflectOnto } from './householder.ts'
import { addScaled, type Dense, dot, row, transposed, zeros } from './matrix.ts'

/** Steps after which an eigenvalue is given up; a few are usual. */
const MOST_STEPS = 100

/** Eigenvalues in descending order, and their vectors as rows. */
export interface EigenPairs {
  values: Float64Array
  /** One unit vector a row. */
  vectors: Dense
}

interface Tridiagonal {
  diagonal: Float64Array
  /** The elements beside the diagonal, and a zero. */
  beside: Float64Array
  /** The orthogonal matrix Q of `a = Q T Qᵀ`. */
  basis: Dense
}

/** `row -= v w + w v` from `start` on, for one row, and the product of the new row with `next`. */
function updateRow(
  to: Float64Array,
  vi: number,
  w: Float64Array,
  wi: number,
  v: Float64Array,
  start: number,
  next: Float64Array,
): number {
  let even = 0
  let odd = 0
  let j = start
  for (; j + 1 < to.length; j += 2) {
    const left = to[j] - vi * w[j] - wi * v[j]
    const right = to[j + 1] - vi * w[j + 1] - wi * v[j + 1]
    to[j] = left
    to[j + 1] = right
    even += left * next[j]
    odd += right * next[j + 1]
  }
  if (j < to.length) {
    to[j] -= vi * w[j] + wi * v[j]
    even += to[j] * next[j]
  }
  return even + odd
}

/**
 * Householder's reduction. The change that one reflection makes and the product that the next one needs are done in the
 * same pass over the matrix.
 */
function tridiagonal(a: Dense): Tridiagonal {
  const n = a.rows
  const rows = Array.from({ length: n }, (_, i) => row(a, i))
  const beside = new Float64Array(n)
  const factors = new Float64Array(n)
  // Vectors that start with zeros, so that positions are the same in all of them.
  let v = new Float64Array(n)
  let w = new Float64Array(n)
  for (let k = 0; k < n - 1; k++) {
    const source = rows[k]
    updateRow(source, v[k], w, w[k], v, k, source)
    const { alpha, factor } = reflectOnto(source.subarray(k + 1))
    beside[k] = alpha
    factors[k] = factor
    const next = new Float64Array(n)
    next.set(source.subarray(k + 1), k + 1)
    const product = new Float64Array(n)
    for (let i = k + 1; i < n; i++) product[i] = factor * updateRow(rows[i], v[i], w, w[i], v, k + 1, next)
    if (factor === 0) {
      v = new Float64Array(n)
      w = v
      continue
    }
    addScaled(product, (-factor / 2) * dot(product, next), next)
    v = next
    w = product
  }
  if (n > 0) updateRow(rows[n - 1], v[n - 1], w, w[n - 1], v, n - 1, v)
  const basis = zeros(n, n)
  const lists = Array.from({ length: n }, (_, i) => row(basis, i))
  for (let i = 0; i < n; i++) lists[i][i] = 1
  // Row by row of Qᵀ: the reflections apply one after the other while the row is at hand.
  for (let i = 1; i < n; i++) {
    for (let k = i - 1; k >= 0; k--) {
      if (factors[k] === 0) continue
      const vector = rows[k].subarray(k + 1)
      const to = lists[i].subarray(k + 1)
      addScaled(to, -factors[k] * dot(to, vector), vector)
    }
  }
  return { diagonal: Float64Array.from(rows, (list, i) => list[i]), beside, basis: transposed(basis) }
}

/** Rotations of neighbouring columns, collected so that many are applied to a row while it is at hand. */
class Rotations {
  readonly #rows: Float64Array[]
  readonly #columns: Int32Array
  readonly #cosines: Float64Array
  readonly #sines: Float64Array
  #count = 0

  constructor(basis: Dense) {
    this.#rows = Array.from({ length: basis.rows }, (_, i) => row(basis, i))
    const capacity = 16 * basis.columns
    this.#columns = new Int32Array(capacity)
    this.#cosines = new Float64Array(capacity)
    this.#sines = new Float64Array(capacity)
  }

  /** Turns the columns `column` and `column + 1` by an angle. */
  add(column: number, cosine: number, sine: number): void {
    if (this.#count === this.#columns.length) this.flush()
    this.#columns[this.#count] = column
    this.#cosines[this.#count] = cosine
    this.#sines[this.#count++] = sine
  }

  /** Applies what was collected. */
  flush(): void {
    const [columns, cosines, sines, count] = [this.#columns, this.#cosines, this.#sines, this.#count]
    const rows = this.#rows
    let i = 0
    // Rows do not depend on each other; four at a time keep the processor busy.
    for (; i + 3 < rows.length; i += 4) {
      const a = rows[i]
      const b = rows[i + 1]
      const c = rows[i + 2]
      const d = rows[i + 3]
      for (let k = 0; k < count; k++) {
        const left = columns[k]
        const right = left + 1
        const cosine = cosines[k]
        const sine = sines[k]
        const a0 = a[left]
        const a1 = a[right]
        a[right] = sine * a0 + cosine * a1
        a[left] = cosine * a0 - sine * a1
        const b0 = b[left]
        const b1 = b[right]
        b[right] = sine * b0 + cosine * b1
        b[left] = cosine * b0 - sine * b1
        const c0 = c[left]
        const c1 = c[right]
        c[right] = sine * c0 + cosine * c1
        c[left] = cosine * c0 - sine * c1
        const d0 = d[left]
        const d1 = d[right]
        d[right] = sine * d0 + cosine * d1
        d[left] = cosine * d0 - sine * d1
      }
    }
    for (; i < rows.length; i++) turn(rows[i], columns, cosines, sines, count)
    this.#count = 0
  }
}

function turn(
  list: Float64Array,
  columns: Int32Array,
  cosines: Float64Array,
  sines: Float64Array,
  count: number,
): void {
  for (let k = 0; k < count; k++) {
    const left = columns[k]
    const [a, b] = [list[left], list[left + 1]]
    list[left + 1] = sines[k] * a + cosines[k] * b
    list[left] = cosines[k] * a - sines[k] * b
  }
}

/** Diagonalises a tridiagonal matrix in place; the columns of the basis become eigenvectors. */
function diagonalise({ diagonal: d, beside: e, basis }: Tridiagonal): void {
  const n = d.length
  const rotations = new Rotations(basis)
  // Measured against the whole matrix: where it lacks rank, the rest is rounding errors, which never settle among themselves.
  let norm = 0
  for (let i = 0; i < n; i++) norm = Math.max(norm, Math.abs(d[i]) + Math.abs(e[i]))
  const isNegligible = (i: number) => Math.abs(e[i]) <= Number.EPSILON * norm
  for (let start = 0; start < n; start++) {
    for (let step = 0; ; step++) {
      let end = start
      while (end < n - 1 && !isNegligible(end)) end++
      if (end === start) break
      if (step === MOST_STEPS) {
        throw new Error(`The eigenvalues of a ${n} x ${n} matrix did not converge in ${MOST_STEPS} steps each`)
      }
      const half = (d[start + 1] - d[start]) / (2 * e[start])
      const radius = Math.hypot(half, 1)
      let g = d[end] - d[start] + e[start] / (half + (half >= 0 ? radius : -radius))
      let sine = 1
      let cosine = 1
      let shift = 0
      let i = end - 1
      for (; i >= start; i--) {
        const f = sine * e[i]
        const b = cosine * e[i]
        const length = Math.hypot(f, g)
        e[i + 1] = length
        if (length === 0) {
          d[i + 1] -= shift
          e[end] = 0
          break
        }
        sine = f / length
        cosine = g / length
        g = d[i + 1] - shift
        const t = (d[i] - g) * sine + 2 * cosine * b
        shift = sine * t
        d[i + 1] = g + shift
        g = cosine * t - b
        rotations.add(i, cosine, sine)
      }
      if (i >= start) continue
      d[start] -= shift
      e[start] = g
      e[end] = 0
    }
  }
  rotations.flush()
}

/** All eigenpairs of a symmetric matrix, which is overwritten. */
export function eigenPairs(a: Dense): EigenPairs {
  const reduced = tridiagonal(a)
  diagonalise(reduced)
  const order = Array.from(reduced.diagonal.keys()).sort((i, j) => reduced.diagonal[j] - reduced.diagonal[i] || i - j)
  const vectors = zeros(a.rows, a.rows)
  const columns = transposed(reduced.basis)
  for (const [to, from] of order.entries()) row(vectors, to).set(row(columns, from))
  return { values: Float64Array.from(order, i => reduced.diagonal[i]), vectors }
}
