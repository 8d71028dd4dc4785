/** @file Stochastic gradient descent with momentum. */
import type { Parameter } from '../../nn/index.ts'
import { Optimizer, type OptimizerOptions } from './optimizer.ts'

/** Options of {@link SGD}, with PyTorch's defaults. */
export interface SGDOptions extends OptimizerOptions {
  /** How much of the last step's direction is kept (0 to 1). */
  momentum?: number
  /** Nesterov's form of momentum. */
  nesterov?: boolean
}

/** Gradient descent, `v = momentum v + g + decay p; p = p - lr v`. Defaults: lr 1e-3, no momentum, no decay. */
export class SGD extends Optimizer {
  readonly momentum: number
  readonly nesterov: boolean
  readonly #velocity: Float32Array

  constructor(parameters: Iterable<readonly [string, Parameter]>, options: SGDOptions = {}) {
    super(parameters, options, { lr: 1e-3, weightDecay: 0 })
    this.momentum = options.momentum ?? 0
    this.nesterov = options.nesterov ?? false
    if (!(this.momentum >= 0 && this.momentum < 1))
      throw new Error(`The momentum must lie in [0, 1), got ${this.momentum}`)
    if (this.nesterov && this.momentum === 0) throw new Error('Nesterov momentum needs a momentum above 0')
    this.#velocity = new Float32Array(this.momentum > 0 ? this.parameters.size : 0)
  }

  protected override vectors(): Record<string, Float32Array> {
    return { momentum_buffer: this.#velocity }
  }

  protected override update(values: Float32Array, gradient: Float32Array): void {
    const { momentum } = this
    const velocity = this.#velocity
    for (const { start, end, decay, lrScale } of this.decayed) {
      const lr = this.lr * lrScale
      for (let i = start; i < end; i++) {
        let direction = gradient[i] + decay * values[i]
        if (momentum > 0) {
          // The first step starts from the gradient itself, as in PyTorch.
          const v = this.stepCount === 1 ? direction : momentum * velocity[i] + direction
          velocity[i] = v
          direction = this.nesterov ? direction + momentum * v : v
        }
        values[i] -= lr * direction
      }
    }
  }
}
