/** @file How A and B of a dense layer begin. */
import type { LoraConfig } from '../config.ts'
import { drawnFactors } from './drawn.ts'
import type { InitContext, InitialFactors } from './factors.ts'
import { loftqFactors } from './loftq.ts'
import { micaFactors } from './mica.ts'
import { oloraFactors } from './olora.ts'
import { orthogonalFactors } from './orthogonal.ts'
import { pissaFactors } from './pissa.ts'

export { drawn, type InitContext, type InitialFactors } from './factors.ts'
export { micaFactors } from './mica.ts'

/** The first values of an adapter on a dense layer. */
export function initialFactors(
  { initLoraWeights: init, loftqConfig }: LoraConfig,
  context: InitContext,
): InitialFactors {
  if (typeof init === 'boolean' || init === 'gaussian') {
    const { inFeatures, outFeatures, rank } = context
    return drawnFactors(init, { ...context, shapeA: [rank, inFeatures], shapeB: [outFeatures, rank] })
  }
  if (init === 'orthogonal') return orthogonalFactors(context)
  if (init === 'olora') return oloraFactors(context)
  if (init === 'mica') return micaFactors(context)
  if (init === 'loftq') return loftqFactors({ loftqBits: 4, loftqIter: 1, ...loftqConfig }, context)
  return pissaFactors(init, context)
}
