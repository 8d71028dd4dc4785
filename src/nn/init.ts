/** @file Initialisers: how the first values of a parameter are drawn. */
import type { Random } from '../util/random.ts'
import type { Initializer } from './parameter.ts'

const fill = (shape: readonly number[], draw: () => number): Float32Array => {
  const data = new Float32Array(shape.reduce((a, b) => a * b, 1))
  for (let i = 0; i < data.length; i++) data[i] = draw()
  return data
}

/** Every value the same. */
export const constantInit =
  (value: number): Initializer =>
  (_, shape) =>
    fill(shape, () => value)

/** All zeros. */
export const zerosInit: Initializer = constantInit(0)
/** All ones. */
export const onesInit: Initializer = constantInit(1)

/** Normal with mean 0. */
export const normalInit =
  (deviation: number): Initializer =>
  (random: Random, shape) =>
    fill(shape, () => random.normal() * deviation)

/** Normal with mean 0, drawn again where it lies more than `cutoff` deviations away. */
export const truncatedNormalInit =
  (deviation: number, cutoff: number): Initializer =>
  (random, shape) =>
    fill(shape, () => {
      let value = random.normal()
      while (Math.abs(value) > cutoff) value = random.normal()
      return value * deviation
    })

/** Uniform in [-bound, bound). */
export const uniformInit =
  (bound: number): Initializer =>
  (random: Random, shape) =>
    fill(shape, () => (random.uniform() * 2 - 1) * bound)

/**
 * PyTorch's default for dense layers: `kaiming_uniform_(a = sqrt(5))`, which is uniform within
 * `1 / sqrt(fan in)` (arXiv 1502.01852).
 *
 * @param fanIn by default the product of all axes but the first
 */
export const kaimingUniformInit =
  (fanIn?: number): Initializer =>
  (random, shape) =>
    uniformInit(1 / Math.sqrt(fanIn ?? shape.slice(1).reduce((a, b) => a * b, 1)))(random, shape)
