/** @file Attention of a decoder: projections, rotation, scores, the projection of the result. */
import type { Tensor } from '../../graph/index.ts'
import { mergeHeads } from '../../nn/index.ts'
import {
  type AttentionContext,
  AttentionModule,
  type ContextAttentionOptions,
  cachedAttention,
} from '../attention-context.ts'
import { applyRotary } from '../rope.ts'

/** Queries, keys and values of an attention, `[batch, heads, sequence, width]` each. */
export interface Projections {
  query: Tensor
  key: Tensor
  value: Tensor
}

/** The attention of a decoder. Architectures say how queries, keys, values and the result are projected. */
export abstract class DecoderAttention extends AttentionModule {
  readonly numHeads: number
  readonly attentionDropout: number

  constructor(options: { numHeads: number; numKeyValueHeads: number; headWidth: number; dropout: number }) {
    super({ role: 'decoder', numKeyValueHeads: options.numKeyValueHeads, headWidth: options.headWidth })
    this.numHeads = options.numHeads
    this.attentionDropout = options.dropout
  }

  /** Queries, keys and values before the rotation. @param hidden `[batch, sequence, hidden]` */
  protected abstract project(hidden: Tensor): Projections

  /** @param heads the result of all heads, `[batch, sequence, heads * width]` @returns `[batch, sequence, hidden]` */
  protected abstract combine(heads: Tensor): Tensor

  /** What the scores go through. */
  protected get scoreOptions(): ContextAttentionOptions {
    return { dropout: this.attentionDropout }
  }

  /** @param hidden `[batch, sequence, hidden]` @returns the same shape */
  forward(hidden: Tensor, context: AttentionContext): Tensor {
    const { query, key, value } = this.project(hidden)
    const turn = (x: Tensor) => (context.rotary ? applyRotary(x, context.rotary) : x)
    return this.combine(mergeHeads(cachedAttention(turn(query), turn(key), value, context, this.scoreOptions)))
  }
}
