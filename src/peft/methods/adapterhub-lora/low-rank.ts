/** @file LoRA: an update of low rank, one for each block of a layer's outputs (arXiv 2106.09685). */
import { dropout, graphOf, linear, matmul, mul, type Tensor, zeros } from '../../../graph/index.ts'
import { type Initializer, kaimingUniformInit, normalInit, onesInit, Parameter, zerosInit } from '../../../nn/index.ts'
import { wideUniformInit } from '../../adapterhub/first-values.ts'
import { AdditiveAdapter, type DenseShape } from './adapter.ts'
import { partsFor, spread } from './blocks.ts'
import type { AdapterHubLoraConfig, HubLoraInit } from './config.ts'

const BERT = normalInit(0.02)

/** How the two narrow matrices begin. */
export const NARROW_INITS: Readonly<Record<HubLoraInit, { a: Initializer; b: Initializer }>> = {
  lora: { a: kaimingUniformInit(), b: zerosInit },
  bert: { a: BERT, b: BERT },
  ia3: { a: onesInit, b: onesInit },
  vera: { a: wideUniformInit, b: wideUniformInit },
}

/** `(alpha / r) B A x` for each block. */
export class LowRankAdapter extends AdditiveAdapter {
  /** `[blocks r, in]` */
  lora_A: Parameter
  /** `[blocks width, r]` */
  lora_B: Parameter

  constructor(config: AdapterHubLoraConfig, shape: DenseShape) {
    super(config, shape)
    const { chosen, width } = shape.blocks
    const { a, b } = NARROW_INITS[config.initWeights]
    this.lora_A = new Parameter([chosen.length * config.r, shape.input], { init: a })
    this.lora_B = new Parameter([chosen.length * width, config.r], { init: b })
  }

  /** The matrices of each block. */
  private pairs(): { a: Tensor; b: Tensor }[] {
    const graph = graphOf([])
    const [a, b] = [this.lora_A, this.lora_B].map(parameter => partsFor(this.blocks, parameter.trace(graph), 0))
    return a.map((part, i) => ({ a: part, b: b[i] }))
  }

  override update(input: Tensor, before: Tensor = input): Tensor {
    const x = dropout(before, this.config.dropout)
    const factors = this.factors(input, this.scale)
    const parts = this.pairs().map(({ a, b }, i) => mul(linear(linear(x, a), b), factors[i]))
    return spread(this.blocks, parts, -1, zeros)
  }

  override delta(): Tensor {
    const parts = this.pairs().map(({ a, b }) => matmul(b, a))
    return spread(this.blocks, parts, 0, zeros)
  }
}
