/** @file The place where a sublayer's result joins the residual stream. */
import { add, type Tensor } from '../graph/index.ts'
import { Module } from './module.ts'

/** Which sublayer of a block a {@link Residual} follows. */
export type Sublayer = 'attention' | 'crossAttention' | 'feedForward'

/** A normalisation that follows the sum, as in models that normalise after each sublayer. */
interface Normalization {
  forward(x: Tensor): Tensor
}

/**
 * `norm(input + result)`, without parameters of its own. Every block of every architecture joins its sublayers through
 * one, so that methods which work between sublayers (bottleneck adapters) can take its place.
 */
export class Residual extends Module {
  readonly sublayer: Sublayer
  /** The width of the residual stream. */
  readonly width: number

  constructor(sublayer: Sublayer, width: number) {
    super()
    this.sublayer = sublayer
    this.width = width
  }

  /**
   * @param result what the sublayer computed, after the model's own dropout, `[batch, sequence, hidden]`
   * @param input the residual stream before the sublayer (and before a normalisation in front of it)
   * @param norm the model's normalisation after the sum, where it has one
   */
  forward(result: Tensor, input: Tensor, norm?: Normalization): Tensor {
    const sum = add(result, input)
    return norm ? norm.forward(sum) : sum
  }
}
