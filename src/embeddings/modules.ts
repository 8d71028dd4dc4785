/** @file What may follow pooling: dense layers and normalisation. */
import { add, type Tensor } from '../graph/index.ts'
import { getActivation, Linear, Module } from '../nn/index.ts'
import { normalizeRows } from './vectors.ts'

/** A step from vectors to vectors. */
export abstract class EmbeddingModule extends Module {
  /** @param x `[batch, in]` @returns `[batch, out]` */
  abstract override forward(x: Tensor): Tensor
  /** The width of what comes out, for vectors of width `inputs`. */
  abstract outputDimension(inputs: number): number
}

/** Makes the vectors one long. */
export class Normalize extends EmbeddingModule {
  override forward(x: Tensor): Tensor {
    return normalizeRows(x)
  }

  override outputDimension(inputs: number): number {
    return inputs
  }
}

/** Options of {@link Dense}. */
export interface DenseOptions {
  inFeatures: number
  outFeatures: number
  bias?: boolean
  /** The name of the activation; none for `identity`. Default `tanh`. */
  activation?: string
  /** Whether the input is added to what comes out, projected where the widths differ. Default false. */
  useResidual?: boolean
}

/** A dense layer with an activation. */
export class Dense extends EmbeddingModule {
  linear: Linear
  /** Projects the input where it is added to an output of another width. */
  residual: Linear | undefined
  readonly activation: string
  readonly useResidual: boolean

  /** @throws for an activation that is not known */
  constructor({ inFeatures, outFeatures, bias = true, activation = 'tanh', useResidual = false }: DenseOptions) {
    super()
    if (activation !== 'identity') getActivation(activation)
    this.linear = new Linear(inFeatures, outFeatures, { bias })
    this.activation = activation
    this.useResidual = useResidual
    this.residual =
      useResidual && inFeatures !== outFeatures ? new Linear(inFeatures, outFeatures, { bias: false }) : undefined
  }

  override forward(x: Tensor): Tensor {
    const projected = this.linear.forward(x)
    const result = this.activation === 'identity' ? projected : getActivation(this.activation)(projected)
    return this.useResidual ? add(result, this.residual ? this.residual.forward(x) : x) : result
  }

  override outputDimension(inputs: number): number {
    if (inputs === this.linear.inFeatures) return this.linear.outFeatures
    throw new Error(`A dense layer takes vectors of width ${this.linear.inFeatures}, and gets some of width ${inputs}`)
  }
}
