/** @file MiCA (arXiv 2604.01694): B spans the directions in which the weight does least, and stays; A begins at zero. */
import { Parameter } from '../../../../nn/index.ts'
import { svd } from '../../../../util/linear-algebra/index.ts'
import { type InitContext, type InitialFactors, requireRank } from './factors.ts'

/** `B` holds the left singular vectors of the r smallest singular values, frozen; `A` is zero. */
export function micaFactors(context: InitContext): InitialFactors {
  requireRank(context, 'mica')
  const { rank, inFeatures, outFeatures, weight } = context
  const compute = async () => {
    const { u } = svd(await weight())
    const first = u.columns - rank
    const result = new Float32Array(outFeatures * rank)
    for (let i = 0; i < outFeatures; i++) {
      result.set(u.data.subarray(i * u.columns + first, (i + 1) * u.columns), i * rank)
    }
    return result
  }
  return {
    a: Parameter.from(new Float32Array(rank * inFeatures), [rank, inFeatures]),
    b: Parameter.computed([outFeatures, rank], compute, { requiresGrad: false }),
  }
}
