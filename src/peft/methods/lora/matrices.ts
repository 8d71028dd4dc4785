/** @file The matrices of one LoRA adapter in one layer, where they alone say what it does. */
import type { ModuleDict, Parameter } from '../../../nn/index.ts'
import type { TunerLayer } from '../../tuner-layer.ts'
import { LoraLayer, LoraWeightLayer } from './layer.ts'

/** The parameters of one adapter in one layer. */
export interface LoraMatrices {
  /** `[r, in]`; of convolutions with the axes of the kernel after that. */
  a: Parameter
  /** `[out, r]` */
  b: Parameter
  /** `[out]`, the bias of B. */
  bias: Parameter | undefined
  rank: number
  /** The factor on `b a`. */
  scaling: number
}

/**
 * The matrices of an adapter, or undefined where the layer does not have it.
 *
 * @throws when they do not say all that the adapter does: learnt lengths, weights that were replaced, experts
 */
export function matricesOf(layer: TunerLayer | undefined, name: string): LoraMatrices | undefined {
  if (!(layer instanceof LoraLayer) || !(name in layer.settings)) return undefined
  const refuse = (reason: string, way: string): never => {
    throw new Error(`The adapter "${name}" ${reason}, so its matrices alone do not say what it does; ${way}`)
  }
  if (!(layer instanceof LoraWeightLayer)) {
    return refuse('works on parameters of several matrices (targetParameters)', 'use it as it is')
  }
  const { rank, scaling, useDora } = layer.settings[name]
  if (useDora) refuse('has learnt lengths (useDora)', 'merge it with mergeAdapter, or make it plain with convertToLora')
  if (layer.beginning(name)) {
    refuse('began with values taken out of the weights (initLoraWeights)', 'make it plain with convertToLora')
  }
  const { lora_B } = layer as unknown as { lora_B?: ModuleDict }
  const bias = (lora_B?.get(name) as { bias?: Parameter } | undefined)?.bias
  return { ...layer.matricesOf(name), bias, rank, scaling }
}
