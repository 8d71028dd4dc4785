/** @file Orthogonal initialisation: A and B live in two halves of one orthogonal basis, so that their product is zero. */
import { normalInit, Parameter } from '../../../../nn/index.ts'
import { matrix, qr } from '../../../../util/linear-algebra/index.ts'
import type { InitContext, InitialFactors } from './factors.ts'

/** How much smaller than normal numbers the values are. */
const SHRINK = 10

/** `A = (X Q_odd)ᵀ / 10`, `B = Y Q_even / 10` with normal X and Y and the rows of a random orthogonal matrix Q. */
export function orthogonalFactors({ inFeatures, outFeatures, rank, random }: InitContext): InitialFactors {
  const normal = (rows: number, columns: number) => normalInit(1)(random, [rows, columns])
  const { q } = qr(matrix(rank, rank, normal(rank, rank)))
  const half = rank / 2
  const inputs = normal(inFeatures, half)
  const outputs = normal(outFeatures, half)
  const a = new Float32Array(rank * inFeatures)
  const b = new Float32Array(outFeatures * rank)
  for (let j = 0; j < rank; j++) {
    for (let i = 0; i < inFeatures; i++) {
      let sum = 0
      for (let k = 0; k < half; k++) sum += inputs[i * half + k] * q.data[2 * k * rank + j]
      a[j * inFeatures + i] = sum / SHRINK
    }
    for (let i = 0; i < outFeatures; i++) {
      let sum = 0
      for (let k = 0; k < half; k++) sum += outputs[i * half + k] * q.data[(2 * k + 1) * rank + j]
      b[i * rank + j] = sum / SHRINK
    }
  }
  return { a: Parameter.from(a, [rank, inFeatures]), b: Parameter.from(b, [outFeatures, rank]) }
}
