/** @file The standard layers. */
import { dropout, embeddingLookup, layerNorm, linear, type Operand, rmsNorm, type Tensor } from '../graph/index.ts'
import { kaimingUniformInit, normalInit, onesInit, uniformInit, zerosInit } from './init.ts'
import { Module } from './module.ts'
import { type Initializer, Parameter } from './parameter.ts'

/** A dense layer, `x Wᵀ + b`, initialised as PyTorch does. */
export class Linear extends Module {
  readonly inFeatures: number
  readonly outFeatures: number
  /** `[out, in]` */
  weight: Parameter
  /** `[out]` */
  bias: Parameter | undefined

  constructor(
    inFeatures: number,
    outFeatures: number,
    options: { bias?: boolean; init?: Initializer; biasInit?: Initializer } = {},
  ) {
    super()
    this.inFeatures = inFeatures
    this.outFeatures = outFeatures
    this.weight = new Parameter([outFeatures, inFeatures], { init: options.init ?? kaimingUniformInit() })
    this.bias =
      options.bias === false
        ? undefined
        : new Parameter([outFeatures], { init: options.biasInit ?? uniformInit(1 / Math.sqrt(inFeatures)) })
  }

  /** @param x `[..., in]` @returns `[..., out]` */
  forward(x: Operand): Tensor {
    return linear(x, this.weight, this.bias)
  }
}

/** GPT-2's dense layer: a {@link Linear} that stores its weight the other way round, `[in, out]`. */
export class Conv1D extends Module {
  readonly inFeatures: number
  readonly outFeatures: number
  /** `[in, out]` */
  weight: Parameter
  /** `[out]` */
  bias: Parameter

  constructor(outFeatures: number, inFeatures: number) {
    super()
    this.inFeatures = inFeatures
    this.outFeatures = outFeatures
    this.weight = new Parameter([inFeatures, outFeatures], { init: normalInit(0.02) })
    this.bias = new Parameter([outFeatures], { init: zerosInit })
  }

  /** @param x `[..., in]` @returns `[..., out]` */
  forward(x: Operand): Tensor {
    return linear(x, this.weight, this.bias, true)
  }
}

/** A table of vectors, looked up by index. */
export class Embedding extends Module {
  readonly numEmbeddings: number
  readonly embeddingDim: number
  /** The row that stands for padding and gets no gradient from looking it up. */
  readonly paddingIndex: number | undefined
  /** `[rows, width]` */
  weight: Parameter

  constructor(
    numEmbeddings: number,
    embeddingDim: number,
    options: { init?: Initializer; paddingIndex?: number | null } = {},
  ) {
    super()
    this.numEmbeddings = numEmbeddings
    this.embeddingDim = embeddingDim
    const padding = options.paddingIndex ?? undefined
    this.paddingIndex = padding !== undefined && padding < 0 ? padding + numEmbeddings : padding
    this.weight = new Parameter([numEmbeddings, embeddingDim], { init: options.init ?? normalInit(1) })
  }

  /** @param ids int64 `[...]` @returns `[..., width]` */
  forward(ids: Tensor): Tensor {
    return embeddingLookup(this.weight, ids, this.paddingIndex)
  }
}

/** Layer normalisation over the last axis (arXiv 1607.06450). */
export class LayerNorm extends Module {
  readonly eps: number
  weight: Parameter
  bias: Parameter | undefined

  constructor(width: number, options: { eps?: number; bias?: boolean } = {}) {
    super()
    this.eps = options.eps ?? 1e-5
    this.weight = new Parameter([width], { init: onesInit })
    this.bias = options.bias === false ? undefined : new Parameter([width], { init: zerosInit })
  }

  /** @param x `[..., width]` */
  forward(x: Operand): Tensor {
    return layerNorm(x, this.weight, this.bias, this.eps)
  }
}

/** Root-mean-square normalisation over the last axis (arXiv 1910.07467). */
export class RMSNorm extends Module {
  readonly eps: number
  weight: Parameter

  constructor(width: number, options: { eps?: number } = {}) {
    super()
    this.eps = options.eps ?? 1e-6
    this.weight = new Parameter([width], { init: onesInit })
  }

  /** @param x `[..., width]` */
  forward(x: Operand): Tensor {
    return rmsNorm(x, this.weight, this.eps)
  }
}

/** Zeroes elements with probability `p` while training (arXiv 1207.0580). */
export class Dropout extends Module {
  readonly p: number

  constructor(p: number) {
    super()
    this.p = p
  }

  forward(x: Operand): Tensor {
    return dropout(x, this.p)
  }
}
