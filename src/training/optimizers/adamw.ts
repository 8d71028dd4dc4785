/** @file AdamW: Adam with decoupled weight decay (arXiv 1711.05101). */
import type { Parameter } from '../../nn/index.ts'
import { Optimizer, type OptimizerOptions } from './optimizer.ts'

/** Options of {@link AdamW}, with PyTorch's defaults. */
export interface AdamWOptions extends OptimizerOptions {
  /** The decay rates of the two moments. */
  betas?: readonly [number, number]
  /** Added to the root of the second moment. */
  eps?: number
}

/** Adam with decoupled weight decay. Defaults: lr 1e-3, betas 0.9 and 0.999, eps 1e-8, weight decay 0.01. */
export class AdamW extends Optimizer {
  readonly betas: readonly [number, number]
  readonly eps: number
  readonly #mean: Float32Array
  readonly #square: Float32Array

  constructor(parameters: Iterable<readonly [string, Parameter]>, options: AdamWOptions = {}) {
    super(parameters, options, { lr: 1e-3, weightDecay: 0.01 })
    this.betas = options.betas ?? [0.9, 0.999]
    this.eps = options.eps ?? 1e-8
    this.#mean = new Float32Array(this.parameters.size)
    this.#square = new Float32Array(this.parameters.size)
  }

  protected override vectors(): Record<string, Float32Array> {
    return { exp_avg: this.#mean, exp_avg_sq: this.#square }
  }

  protected override update(values: Float32Array, gradient: Float32Array): void {
    const [beta1, beta2] = this.betas
    const { lr, eps } = this
    const [mean, square] = [this.#mean, this.#square]
    const correction = 1 - beta1 ** this.stepCount
    const root = Math.sqrt(1 - beta2 ** this.stepCount)
    for (const { start, end, decay, lrScale } of this.decayed) {
      const rate = (lr * lrScale) / correction
      const shrink = 1 - lr * lrScale * decay
      for (let i = start; i < end; i++) {
        const g = gradient[i]
        const m = beta1 * mean[i] + (1 - beta1) * g
        const v = beta2 * square[i] + (1 - beta2) * g * g
        mean[i] = m
        square[i] = v
        values[i] = values[i] * shrink - (rate * m) / (Math.sqrt(v) / root + eps)
      }
    }
  }
}
