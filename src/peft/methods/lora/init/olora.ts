/** @file OLoRA (arXiv 2406.01775): A and B are the first factors of the weight's QR factorisation, taken out of it. */
import { qr } from '../../../../util/linear-algebra/index.ts'
import {
  type InitContext,
  type InitialFactors,
  leadingColumns,
  leadingRows,
  removedFactors,
  requireRank,
} from './factors.ts'

/** With `W = Q R`: `B` the first r columns of Q, `A` the first r rows of R; `s B A` is taken out of the weight. */
export function oloraFactors(context: InitContext): InitialFactors {
  requireRank(context, 'olora')
  const ones = Array<number>(context.rank).fill(1)
  return removedFactors(context, async () => {
    const { q, r } = qr(await context.weight())
    return { a: leadingRows(r, ones), b: leadingColumns(q, ones) }
  })
}
