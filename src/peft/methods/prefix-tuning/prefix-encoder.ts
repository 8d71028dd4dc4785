/** @file The keys and values of prefix tuning, and the layers through which they may be learnt. */
import { type Tensor, tanh } from '../../../graph/index.ts'
import { Embedding, Linear, Module, ModuleList, zerosInit } from '../../../nn/index.ts'
import { completed, VirtualTokens } from '../../prompt-learning/index.ts'
import type { PrefixTuningConfig } from './config.ts'

/** The hyperbolic tangent as a module, so that layers in a row have PyTorch's numbers. */
class Tanh extends Module {
  forward(x: Tensor): Tensor {
    return tanh(x)
  }
}

/** A table of keys and values for all layers, or a smaller one with two dense layers over it. */
export class PrefixEncoder extends VirtualTokens {
  readonly config: PrefixTuningConfig
  transform: ModuleList | undefined

  constructor(config: PrefixTuningConfig) {
    const { numVirtualTokens, numLayers, tokenDim, inferenceMode, prefixProjection, initWeights } = completed(config)
    super([numVirtualTokens, numLayers * 2 * tokenDim])
    this.config = config
    if (prefixProjection && !inferenceMode) {
      this.isPlain = false
      this.addLayers()
    } else if (initWeights === 'zero') {
      this.embedding.weight.init = zerosInit
    }
  }

  protected override addLayers(): void {
    const { numVirtualTokens, tokenDim, encoderHiddenSize, initWeights } = completed(this.config)
    const init = initWeights === 'zero' ? { init: zerosInit, biasInit: zerosInit } : {}
    this.embedding = new Embedding(numVirtualTokens, tokenDim)
    this.transform = new ModuleList([
      new Linear(tokenDim, encoderHiddenSize!),
      new Tanh(),
      new Linear(encoderHiddenSize!, this.resultShape[1], init),
    ])
  }

  protected override removeLayers(): void {
    this.transform = undefined
  }

  protected override encode(table: Tensor): Tensor {
    return this.transform!.forward(table) as Tensor
  }
}

/** How many values {@link PrefixEncoder} trains. */
export function prefixSize(config: PrefixTuningConfig): number {
  const { numVirtualTokens, numLayers, tokenDim, encoderHiddenSize, prefixProjection } = completed(config)
  const width = numLayers * 2 * tokenDim
  if (!prefixProjection) return numVirtualTokens * width
  const hidden = encoderHiddenSize!
  return numVirtualTokens * tokenDim + (tokenDim + 1) * hidden + (hidden + 1) * width
}
