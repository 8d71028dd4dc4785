/** @file How a bottleneck adapter's first values are drawn. */
import { type Initializer, kaimingUniformInit, type Module, normalInit, zerosInit } from '../../../nn/index.ts'
import type { Random } from '../../../util/random.ts'
import type { BnConfig } from './config.ts'

/** Normal, drawn again where it lies more than two deviations off. */
const truncatedNormalInit =
  (deviation: number): Initializer =>
  (random, shape) =>
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => {
      let value = random.normal()
      while (Math.abs(value) > 2) value = random.normal()
      return value * deviation
    })

/** The deviation of most adapters' weights, as in BERT. */
export const BERT_INIT = normalInit(0.02)

const INITS: Readonly<Record<BnConfig['initWeights'], { down: Initializer; up: Initializer }>> = {
  bert: { down: BERT_INIT, up: BERT_INIT },
  houlsby: { down: truncatedNormalInit(0.01), up: truncatedNormalInit(0.01) },
  mam_adapter: { down: kaimingUniformInit(), up: zerosInit },
}

/** The first values of the two dense layers. */
export function adapterInits({ initWeights }: BnConfig): { down: Initializer; up: Initializer } {
  return INITS[initWeights]
}

/** Normal with the deviation that keeps the variance of a matrix' input and output (Glorot, gain 1). */
export const xavierNormalInit: Initializer = (random, shape) => {
  const [rows, columns] = shape.slice(-2)
  return normalInit(Math.sqrt(2 / (rows + columns)))(random, shape)
}

/** Draws the values of everything in a module, in the order of its names. */
export function drawValues<M extends Module>(module: M, random: Random): M {
  for (const [, parameter] of module.namedParameters()) parameter.data = parameter.init!(random, parameter.shape)
  return module
}
