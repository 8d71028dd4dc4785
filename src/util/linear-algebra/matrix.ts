/** @file Matrices, and the products that the factorisations are made of. */

/** A matrix of float32 numbers, row by row. */
export interface Matrix {
  readonly rows: number
  readonly columns: number
  /** `rows * columns` numbers. */
  readonly data: Float32Array
}

/** The same in float64, in which everything is computed. */
export interface Dense {
  readonly rows: number
  readonly columns: number
  readonly data: Float64Array
}

/**
 * A matrix over existing numbers.
 *
 * @throws when their number is not `rows * columns`
 */
export function matrix(rows: number, columns: number, data: Float32Array | readonly number[]): Matrix {
  if (data.length !== rows * columns) {
    throw new Error(
      `A matrix of ${rows} rows and ${columns} columns takes ${rows * columns} numbers, got ${data.length}`,
    )
  }
  return { rows, columns, data: data instanceof Float32Array ? data : Float32Array.from(data) }
}

/**
 * A copy in float64.
 *
 * @throws when a number is not finite, which no factorisation survives
 */
export function toDense({ rows, columns, data }: Matrix): Dense {
  const at = data.findIndex(value => !Number.isFinite(value))
  if (at >= 0) {
    throw new Error(
      `A matrix with ${data[at]} in row ${Math.floor(at / columns)}, column ${at % columns} cannot be factored; expected finite numbers`,
    )
  }
  return { rows, columns, data: Float64Array.from(data) }
}

/** A copy in float32. */
export function fromDense({ rows, columns, data }: Dense): Matrix {
  return { rows, columns, data: Float32Array.from(data) }
}

/** A matrix of zeros. */
export function zeros(rows: number, columns: number): Dense {
  return { rows, columns, data: new Float64Array(rows * columns) }
}

/** One row, as a view. */
export function row(a: Dense, index: number): Float64Array {
  return a.data.subarray(index * a.columns, (index + 1) * a.columns)
}

/** Rows and columns exchanged. */
export function transposed<T extends Dense | Matrix>({ rows, columns, data }: T): T {
  const result = data.slice()
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) result[j * rows + i] = data[i * columns + j]
  return { rows: columns, columns: rows, data: result } as T
}

/** The first `count` rows, as a view. */
export function firstRows(a: Dense, count: number): Dense {
  return { rows: count, columns: a.columns, data: a.data.subarray(0, count * a.columns) }
}

/** The sum of the products of two lists. */
export function dot(a: Float64Array, b: Float64Array): number {
  let even = 0
  let odd = 0
  const last = a.length - 1
  for (let i = 0; i < last; i += 2) {
    even += a[i] * b[i]
    odd += a[i + 1] * b[i + 1]
  }
  return a.length % 2 ? even + odd + a[last] * b[last] : even + odd
}

/** `y += factor * x`. */
export function addScaled(y: Float64Array, factor: number, x: Float64Array): void {
  for (let i = 0; i < y.length; i++) y[i] += factor * x[i]
}

/** The part of the right factor of a product that is used together, so that it stays in the processor's cache. */
const BLOCK = { rows: 64, columns: 512 }

/** `a b`. */
export function multiply(a: Dense, b: Dense): Dense {
  const result = zeros(a.rows, b.columns)
  for (let top = 0; top < b.rows; top += BLOCK.rows) {
    const bottom = Math.min(top + BLOCK.rows, b.rows)
    for (let left = 0; left < b.columns; left += BLOCK.columns) {
      const width = Math.min(BLOCK.columns, b.columns - left)
      for (let i = 0; i < a.rows; i++) {
        addCombination(result.data, i * b.columns + left, width, a.data, i * a.columns, b, top, bottom, left)
      }
    }
  }
  return result
}

/** Adds rows `top` to `bottom` of b, times the numbers of `factors` at these positions, to part of a row. */
function addCombination(
  to: Float64Array,
  at: number,
  width: number,
  factors: Float64Array,
  offset: number,
  { columns, data }: Dense,
  top: number,
  bottom: number,
  left: number,
): void {
  let k = top
  // Four rows in one pass: a quarter of the traffic to the result.
  for (; k + 3 < bottom; k += 4) {
    const f0 = factors[offset + k]
    const f1 = factors[offset + k + 1]
    const f2 = factors[offset + k + 2]
    const f3 = factors[offset + k + 3]
    let p = k * columns + left
    for (let j = at; j < at + width; j++, p++) {
      to[j] += f0 * data[p] + f1 * data[p + columns] + f2 * data[p + 2 * columns] + f3 * data[p + 3 * columns]
    }
  }
  for (; k < bottom; k++) {
    const factor = factors[offset + k]
    let p = k * columns + left
    for (let j = at; j < at + width; j++, p++) to[j] += factor * data[p]
  }
}

/** `a aᵀ`, symmetric to the bit. */
export function rowProducts(a: Dense): Dense {
  const n = a.rows
  const result = zeros(n, n)
  const rows = Array.from({ length: n }, (_, i) => row(a, i))
  const set = (i: number, j: number, value: number) => {
    result.data[i * n + j] = value
    result.data[j * n + i] = value
  }
  let i = 0
  // Four rows share each pass over another one.
  for (; i + 3 < n; i += 4) {
    const r0 = rows[i]
    const r1 = rows[i + 1]
    const r2 = rows[i + 2]
    const r3 = rows[i + 3]
    for (let j = i; j < n; j++) {
      const other = rows[j]
      let s0 = 0
      let s1 = 0
      let s2 = 0
      let s3 = 0
      for (let k = 0; k < other.length; k++) {
        const value = other[k]
        s0 += r0[k] * value
        s1 += r1[k] * value
        s2 += r2[k] * value
        s3 += r3[k] * value
      }
      set(i, j, s0)
      set(i + 1, j, s1)
      set(i + 2, j, s2)
      set(i + 3, j, s3)
    }
  }
  for (; i < n; i++) for (let j = i; j < n; j++) set(i, j, dot(rows[i], rows[j]))
  return result
}
