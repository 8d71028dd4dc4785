/** @file PiSSA (arXiv 2404.02948): A and B are the principal part of the weight, which is taken out of it. */
import { svd, svdLowRank } from '../../../../util/linear-algebra/index.ts'
import { Random } from '../../../../util/random.ts'
import {
  type InitContext,
  type InitialFactors,
  leadingColumns,
  leadingRows,
  removedFactors,
  requireRank,
} from './factors.ts'

/**
 * With `W = U S Vᵀ` the first r singular values: `A = sqrt(S / s) Vᵀ`, `B = U sqrt(S / s)`.
 *
 * @param init `pissa`, or `pissa_niter_N` for N iterations from random vectors, which are the same for every adapter on
 *   this module: files do not hold what was taken out, so it must come out alike when they are loaded
 */
export function pissaFactors(init: string, context: InitContext): InitialFactors {
  requireRank(context, init)
  const { rank, scaling, path, weight } = context
  const iterations = /^pissa_niter_(\d+)$/.exec(init)?.[1]
  return removedFactors(context, async () => {
    const { u, s, vt } =
      iterations === undefined
        ? svd(await weight())
        : svdLowRank(await weight(), rank, Number(iterations), Random.forName(path, 0))
    const roots = Array.from(s.subarray(0, rank), value => Math.sqrt(value / scaling))
    return { a: leadingRows(vt, roots), b: leadingColumns(u, roots) }
  })
}
