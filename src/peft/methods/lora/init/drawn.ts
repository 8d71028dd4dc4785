/** @file LoRA's own initialisation and its variants: values that are drawn. */
import { kaimingUniformInit, normalInit, Parameter, zerosInit } from '../../../../nn/index.ts'
import type { Random } from '../../../../util/random.ts'
import { drawn, type InitialFactors } from './factors.ts'

/** What is drawn, and from where. */
export interface DrawnContext {
  /** The shape of A; its first axis is the rank. */
  shapeA: readonly number[]
  shapeB: readonly number[]
  rank: number
  random: Random
}

/** A uniform or normal, B zero; with `false` both uniform. */
export function drawnFactors(
  init: boolean | 'gaussian',
  { shapeA, shapeB, rank, random }: DrawnContext,
): InitialFactors {
  const initA = init === 'gaussian' ? normalInit(1 / rank) : kaimingUniformInit()
  if (init === false) return { a: drawn(shapeA, initA, random), b: drawn(shapeB, kaimingUniformInit(), random) }
  // Nothing else draws from the source, so it can wait until the values are needed: those of a file need it never.
  return {
    a: Parameter.drawn(shapeA, () => initA(random, shapeA)),
    b: Parameter.drawn(shapeB, () => zerosInit(random, shapeB)),
  }
}
