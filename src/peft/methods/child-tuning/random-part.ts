/** @file Child-Tuning F: in each step another random part of the gradients counts. */
import type { Gradients, UpdateHook } from '../../../nn/index.ts'
import { Random } from '../../../util/random.ts'

/**
 * Multiplies gradients by Bernoulli(p) / p before the optimizer sees them. Which ones stay follows from the seed, the
 * step and the parameter's name alone, so a training that resumes needs no state of it.
 */
export class RandomPart implements UpdateHook {
  readonly share: number
  readonly seed: number

  /** @param share the probability that a gradient stays */
  constructor(share: number, seed: number) {
    this.share = share
    this.seed = seed
  }

  /** Draws the part of a step. */
  beforeStep({ parameters, data }: Gradients, step: number): void {
    const { share, seed } = this
    if (share === 1) return
    for (const { name, parameter, offset, size } of parameters.slices) {
      if (parameter.hook !== this) continue
      const random = Random.forName(`child-tuning:${step}:${name}`, seed)
      const limit = share * 2 ** 32
      for (let i = offset; i < offset + size; i++) data[i] = random.uint32() < limit ? data[i] / share : 0
    }
  }
}
