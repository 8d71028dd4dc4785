/** @file Gradients as vectors: their sum over several passes, and clipping. */
import { Gradients } from '../nn/index.ts'

/**
 * A running weighted sum of gradients. The first one given is changed in place and becomes the sum: no vector is
 * allocated.
 */
export class GradientSum {
  #sum: Gradients | undefined

  /** Adds `weight * grads`. */
  add(grads: Gradients, weight: number): void {
    const { data } = grads
    if (!this.#sum) {
      if (weight !== 1) for (let i = 0; i < data.length; i++) data[i] *= weight
      this.#sum = new Gradients(grads.parameters, data)
      return
    }
    const sum = this.#sum.data
    for (let i = 0; i < sum.length; i++) sum[i] += weight * data[i]
  }

  /** The sum. Throws when nothing was added. */
  get total(): Gradients {
    if (!this.#sum) throw new Error('No gradients were added')
    return this.#sum
  }
}

/**
 * Scales gradients down in place so that the norm of all of them together is at most `maxNorm`, by PyTorch's factor
 * `maxNorm / (norm + 1e-6)`.
 *
 * @returns the norm before
 */
export function clipGradNorm(grads: Gradients, maxNorm: number): number {
  const norm = grads.norm()
  const factor = maxNorm / (norm + 1e-6)
  if (factor < 1) for (let i = 0; i < grads.data.length; i++) grads.data[i] *= factor
  return norm
}
