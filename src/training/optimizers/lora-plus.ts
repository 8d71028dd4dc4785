/** @file LoRA+ (arXiv 2402.12354): LoRA's second matrix learns faster than its first. */
import type { Module, Parameter, ParameterVector } from '../../nn/index.ts'
import { trainableParameters } from '../value-and-grad.ts'
import { decayRule } from '../weight-decay.ts'
import type { Optimizer, OptimizerOptions } from './optimizer.ts'

/** Options of {@link createLoraPlusOptimizer}; others go to the optimizer. */
export interface LoraPlusOptions extends OptimizerOptions {
  /** The learning rate of A, and of all that is neither B nor a vector. */
  lr: number
  /** How many times faster B and vectors (biases, DoRA's lengths) learn; 1 or more. */
  loraplusLrRatio: number
  /** The weight decay of all but biases and norms (0). */
  loraplusWeightDecay?: number
  /** The learning rate of LoRA on embeddings (1e-6). */
  loraplusLrEmbedding?: number
}

/** An optimizer's class. */
export type OptimizerClass<T extends Optimizer = Optimizer, O extends OptimizerOptions = OptimizerOptions> = new (
  parameters: ParameterVector,
  options?: O,
) => T

const EMBEDDING = /\.lora_embedding_[AB]\./

/**
 * An optimizer over what trains in a model, with the learning rates of LoRA+. Schedules act on all of them alike.
 *
 * @throws for a learning rate or a ratio that is not above zero
 * @example
 * const optimizer = createLoraPlusOptimizer(peft, AdamW, { lr: 1e-4, loraplusLrRatio: 16 })
 */
export function createLoraPlusOptimizer<T extends Optimizer, O extends OptimizerOptions>(
  model: Module,
  optimizerClass: OptimizerClass<T, O>,
  options: LoraPlusOptions & Omit<NoInfer<O>, keyof OptimizerOptions>,
): T {
  const { loraplusLrRatio, loraplusWeightDecay = 0, loraplusLrEmbedding = 1e-6, ...others } = options
  for (const [name, value] of Object.entries({ lr: options.lr, loraplusLrRatio })) {
    if (!(value > 0)) throw new Error(`createLoraPlusOptimizer: ${name} must be above 0, got ${value}`)
  }
  const isSecond = (name: string, parameter: Parameter) => name.includes('lora_B') || parameter.shape.length === 1
  const lrScale = (name: string, parameter: Parameter) => {
    if (EMBEDDING.test(name)) return loraplusLrEmbedding / options.lr
    return isSecond(name, parameter) ? loraplusLrRatio : 1
  }
  const decays = decayRule(model)
  return new optimizerClass(trainableParameters(model), {
    ...others,
    weightDecay: loraplusWeightDecay,
    decays,
    lrScale,
  } as unknown as O)
}
