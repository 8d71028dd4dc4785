/** @file LoRA-FA (arXiv 2308.03303): A is frozen, and B follows the gradient that the whole weight would have. */
import type { Parameter } from '../../nn/index.ts'
import { LoraConvolution, LoraLinear, LoraParameter, type PeftModel } from '../../peft/index.ts'
import { inverse, matrix } from '../../util/linear-algebra/index.ts'
import { trainableParameters } from '../value-and-grad.ts'
import { Optimizer, type OptimizerOptions } from './optimizer.ts'

/** A pair of matrices whose product, times a scale, is an update. */
export interface LoraPair {
  /** `[r, in]`, frozen. */
  a: Parameter
  /** The factor on the update. */
  scaling: number
}

/** Options of {@link LoraFA}. */
export interface LoraFAOptions extends Omit<OptimizerOptions, 'decays'> {
  /** The pair that each matrix B belongs to; the others are trained as by Adam. */
  pairs: ReadonlyMap<Parameter, LoraPair>
  /** The decay rates of the two moments. */
  betas?: readonly [number, number]
  /** Added to the root of the second moment. */
  eps?: number
}

/** Keeps `A Aᵀ` from being singular. */
const DAMPING = 1e-8

/**
 * Adam with decoupled weight decay after the step, where the gradient G of a matrix B becomes `G (A Aᵀ)⁻¹ / s²`: of all
 * changes of B it brings `s B A` closest to a step along the gradient of the weight. Defaults: lr 1e-3, betas 0.9 and
 * 0.999, eps 1e-6, no weight decay.
 */
export class LoraFA extends Optimizer {
  readonly betas: readonly [number, number]
  readonly eps: number
  readonly #pairs: ReadonlyMap<Parameter, LoraPair>
  readonly #mean: Float32Array
  readonly #square: Float32Array

  constructor(parameters: Iterable<readonly [string, Parameter]>, options: LoraFAOptions) {
    super(parameters, options, { lr: 1e-3, weightDecay: 0 })
    this.betas = options.betas ?? [0.9, 0.999]
    this.eps = options.eps ?? 1e-6
    this.#pairs = options.pairs
    this.#mean = new Float32Array(this.parameters.size)
    this.#square = new Float32Array(this.parameters.size)
  }

  protected override vectors(): Record<string, Float32Array> {
    return { exp_avg: this.#mean, exp_avg_sq: this.#square }
  }

  protected override update(values: Float32Array, gradient: Float32Array): void {
    const [beta1, beta2] = this.betas
    const [mean, square] = [this.#mean, this.#square]
    const correction = Math.sqrt(1 - beta2 ** this.stepCount) / (1 - beta1 ** this.stepCount)
    for (const [i, { start, end, decay, lrScale }] of this.decayed.entries()) {
      const lr = this.lr * lrScale
      const own = this.#projected(this.parameters.slices[i].parameter, gradient.subarray(start, end))
      for (let j = start; j < end; j++) {
        const g = own[j - start]
        mean[j] = beta1 * mean[j] + (1 - beta1) * g
        square[j] = beta2 * square[j] + (1 - beta2) * g * g
        const moved = values[j] - (lr * correction * mean[j]) / (Math.sqrt(square[j]) + this.eps)
        values[j] = moved * (1 - lr * decay)
      }
    }
  }

  /** `G (A Aᵀ)⁻¹ / s²` for a matrix B, the gradient itself for others. */
  #projected(parameter: Parameter, gradient: Float32Array): Float32Array {
    const pair = this.#pairs.get(parameter)
    if (!pair) return gradient
    const rank = pair.a.shape[0]
    const inverted = inverse(gram(pair.a.data, rank)).data
    const result = new Float32Array(gradient.length)
    for (let row = 0; row < gradient.length; row += rank) {
      for (let i = 0; i < rank; i++) {
        let sum = 0
        for (let k = 0; k < rank; k++) sum += gradient[row + k] * inverted[k * rank + i]
        result[row + i] = sum / pair.scaling ** 2
      }
    }
    return result
  }
}

/** `A Aᵀ`, with something added on its diagonal. */
function gram(a: Float32Array, rank: number) {
  const width = a.length / rank
  const result = new Float32Array(rank * rank)
  for (let i = 0; i < rank; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = i === j ? DAMPING : 0
      for (let k = 0; k < width; k++) sum += a[i * width + k] * a[j * width + k]
      result[i * rank + j] = result[j * rank + i] = sum
    }
  }
  return matrix(rank, rank, result)
}

/**
 * Freezes A in all layers of the model's adapters, and makes an optimizer for what is left: B by LoRA-FA, all else
 * (heads, DoRA's lengths, LoRA on embeddings) by Adam. A stays frozen until an adapter is activated anew.
 *
 * @throws when the model has no LoRA on dense layers or convolutions, and for layers whose pairs are not single
 *   matrices: adapted parameters and grouped convolutions
 * @example
 * const optimizer = await createLoraFaOptimizer(peft, { lr: 7e-5, weightDecay: 0.01 })
 */
export async function createLoraFaOptimizer(
  model: PeftModel,
  options: Omit<LoraFAOptions, 'pairs'> = {},
): Promise<LoraFA> {
  const pairs = new Map<Parameter, LoraPair>()
  for (const [path, module] of model.namedModules()) {
    const isGrouped = module instanceof LoraConvolution && module.original.groups > 1
    if (module instanceof LoraParameter || isGrouped) {
      throw new Error(
        `createLoraFaOptimizer works on dense layers and convolutions without groups; "${path}" is neither. Use AdamW, or leave it out of the adapter's targets.`,
      )
    }
    if (!(module instanceof LoraLinear || module instanceof LoraConvolution)) continue
    for (const name of module.adapterNames()) {
      const { a, b } = module.matricesOf(name)
      pairs.set(b, { a, scaling: module.settings[name].scaling })
    }
  }
  if (pairs.size === 0) {
    throw new Error('createLoraFaOptimizer: this model has no LoRA on dense layers or convolutions; use AdamW')
  }
  for (const { a } of pairs.values()) {
    a.requiresGrad = false
    await a.load()
  }
  return new LoraFA(trainableParameters(model), { ...options, pairs })
}
