/** @file What an initialisation is given and gives. */
import { type Initializer, Parameter } from '../../../../nn/index.ts'
import type { Matrix } from '../../../../util/linear-algebra/index.ts'
import type { Random } from '../../../../util/random.ts'

/** What an initialisation is given. */
export interface InitContext {
  inFeatures: number
  outFeatures: number
  rank: number
  /** The factor on the update. */
  scaling: number
  /** The source of first values. */
  random: Random
  /** The path of the module, for values that must not depend on the adapter's name. */
  path: string
  /** The base's weight, `[out, in]`. */
  weight(): Promise<Matrix>
}

/** The first values of an adapter on one weight, and what they do to the weight. */
export interface InitialFactors {
  /** `[r, in]` */
  a: Parameter
  /** `[out, r]` */
  b: Parameter
  /** The product that is taken out of the weight, by `scaling`: it stays in the model as A and B. */
  removed?: { a: Parameter; b: Parameter }
  /** What takes the weight's place, `[out, in]`. */
  replaced?: Parameter
}

/** A parameter with drawn values. */
export const drawn = (shape: readonly number[], init: Initializer, random: Random): Parameter =>
  Parameter.from(init(random, shape), shape)

/** Both factors from one computation, which runs when the first of them is needed. */
export interface ComputedFactors {
  /** `[r, in]` */
  a: Float32Array
  /** `[out, r]` */
  b: Float32Array
}

/**
 * Factors that are worked out from the weight, with `removed` ones of the same values.
 *
 * @param compute called once
 */
export function removedFactors(
  { inFeatures, outFeatures, rank }: InitContext,
  compute: () => Promise<ComputedFactors>,
): InitialFactors & Required<Pick<InitialFactors, 'removed'>> {
  let result: Promise<ComputedFactors> | undefined
  const factors = () => (result ??= compute())
  const a = () => Parameter.computed([rank, inFeatures], async () => (await factors()).a)
  const b = () => Parameter.computed([outFeatures, rank], async () => (await factors()).b)
  const removed = { a: a(), b: b() }
  for (const parameter of Object.values(removed)) {
    parameter.requiresGrad = false
    // Small, and other for other adapters: what was compiled for one serves all.
    parameter.varies = true
  }
  return { a: a(), b: b(), removed }
}

/** Throws where a rank is larger than the weight allows. */
export function requireRank({ rank, inFeatures, outFeatures, path }: InitContext, init: string): void {
  const largest = Math.min(inFeatures, outFeatures)
  if (rank <= largest) return
  throw new Error(
    `LoraConfig: initLoraWeights "${init}" needs a rank of at most ${largest} on "${path}", whose weight is ${outFeatures} x ${inFeatures}, got ${rank}; lower r, or set rankPattern for it`,
  )
}

/** The first `count` columns of a matrix, each times a factor. */
export function leadingColumns({ rows, columns, data }: Matrix, factors: readonly number[]): Float32Array {
  const result = new Float32Array(rows * factors.length)
  for (let i = 0; i < rows; i++) {
    for (const [j, factor] of factors.entries()) result[i * factors.length + j] = data[i * columns + j] * factor
  }
  return result
}

/** The first rows of a matrix, each times a factor. */
export function leadingRows({ columns, data }: Matrix, factors: readonly number[]): Float32Array {
  const result = new Float32Array(factors.length * columns)
  for (const [i, factor] of factors.entries()) {
    for (let j = 0; j < columns; j++) result[i * columns + j] = data[i * columns + j] * factor
  }
  return result
}
