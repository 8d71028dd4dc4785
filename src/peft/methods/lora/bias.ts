/** @file The bias that B can have (`loraBias`). */
import { add, type Tensor } from '../../../graph/index.ts'
import { type Parameter, uniformInit, zerosInit } from '../../../nn/index.ts'
import type { WrapContext } from '../../method.ts'
import type { LoraConfig } from './config.ts'
import { drawn } from './init/index.ts'

/** The first values of an adapter's bias, which are drawn only where B is. */
export function initialBias(outputs: number, fanIn: number, { config, random }: WrapContext<LoraConfig>): Parameter {
  return drawn([outputs], config.initLoraWeights === false ? uniformInit(1 / Math.sqrt(fanIn)) : zerosInit, random)
}

/**
 * Merged parameters with biases merged in too.
 *
 * @param biases those of the adapters, scaled
 * @param bias the base's
 * @throws when the base has none
 */
export function withMergedBias(
  merged: Record<string, Tensor>,
  biases: readonly Tensor[],
  bias: Parameter | undefined,
): Record<string, Tensor> {
  if (biases.length === 0) return merged
  if (!bias) throw new Error('An adapter with loraBias cannot be merged into a layer without a bias')
  return { ...merged, bias: biases.reduce((sum, part) => add(sum, part), add(bias, 0)) }
}
