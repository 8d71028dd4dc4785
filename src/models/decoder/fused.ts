/** @file An attention with queries, keys and values in one projection, and the plain feed-forward network beside it. */
import { type Dim, reshape, slice, type Tensor, transpose } from '../../graph/index.ts'
import { type Activation, type Linear, Module } from '../../nn/index.ts'
import { createLinear } from '../init.ts'
import { DecoderAttention, type Projections } from './attention.ts'

/** What a {@link FusedAttention} is made of. */
export interface FusedAttentionOptions {
  hidden_size: number
  heads: number
  /** Heads of keys and values. */
  kvHeads: number
  bias: boolean
  dropout: number
  initializer_range: number
}

/**
 * Attention as GPT-NeoX, BLOOM and Falcon store it: for each head of keys, the queries that share it, the key, the
 * value.
 */
export class FusedAttention extends DecoderAttention {
  query_key_value: Linear
  dense: Linear

  constructor({ hidden_size: width, heads, kvHeads, bias, dropout, initializer_range: range }: FusedAttentionOptions) {
    super({ numHeads: heads, numKeyValueHeads: kvHeads, headWidth: width / heads, dropout })
    this.query_key_value = createLinear(width, width + 2 * kvHeads * this.headWidth, range, bias)
    this.dense = createLinear(width, width, range, bias)
  }

  protected project(hidden: Tensor): Projections {
    const { numHeads: heads, numKeyValueHeads: kvHeads, headWidth: width } = this
    const [batch, sequence] = hidden.shape as [Dim, Dim]
    const groups = heads / kvHeads
    const fused = reshape(this.query_key_value.forward(hidden), [batch, sequence, kvHeads, groups + 2, width])
    const part = (start: number, end: number, count: number) =>
      transpose(reshape(slice(fused, 3, start, end), [batch, sequence, count, width]), [0, 2, 1, 3])
    return {
      query: part(0, groups, heads),
      key: part(groups, groups + 1, kvHeads),
      value: part(groups + 1, groups + 2, kvHeads),
    }
  }

  protected combine(heads: Tensor): Tensor {
    return this.dense.forward(heads)
  }
}

/** A feed-forward network of two layers under the names of GPT-NeoX, BLOOM and Falcon. */
export class FusedMLP extends Module {
  readonly activation: Activation
  dense_h_to_4h: Linear
  dense_4h_to_h: Linear

  constructor(hidden: number, inner: number, activation: Activation, options: { bias: boolean; range: number }) {
    super()
    this.activation = activation
    this.dense_h_to_4h = createLinear(hidden, inner, options.range, options.bias)
    this.dense_4h_to_h = createLinear(inner, hidden, options.range, options.bias)
  }

  forward(hidden: Tensor): Tensor {
    return this.dense_4h_to_h.forward(this.activation(this.dense_h_to_4h.forward(hidden)))
  }
}
