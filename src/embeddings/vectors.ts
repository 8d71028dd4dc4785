/** @file Vectors in a graph: lengths, directions, cosines. */
import { matmul, maximum, mul, reciprocal, sqrt, sum, type Tensor } from '../graph/index.ts'

/** The least length that is divided by, as PyTorch's `normalize` has it. */
const LEAST = 1e-12

/** Rows of length 1 in the same direction; a row of zeros stays one. `[rows, width]` */
export function normalizeRows(x: Tensor): Tensor {
  // Below the root, so that a row of zeros has the gradient zero and not NaN. Its square is what float32 can still hold.
  const length = sqrt(maximum(sum(mul(x, x), [-1], true), LEAST * LEAST))
  return mul(x, reciprocal(length))
}

/** The cosine of each row of `a` with each of `b`, `[rows of a, rows of b]`. */
export function cosineMatrix(a: Tensor, b: Tensor): Tensor {
  return matmul(normalizeRows(a), normalizeRows(b), { transB: true })
}

/** The cosine of each row of `a` with the same row of `b`, `[rows]`. */
export function cosines(a: Tensor, b: Tensor): Tensor {
  return sum(mul(normalizeRows(a), normalizeRows(b)), [-1])
}
