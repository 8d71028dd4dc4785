/** @file BART's attention, within a sequence and to the encoder's result. */
import type { Tensor } from '../../graph/index.ts'
import { type Linear, mergeHeads, splitHeads } from '../../nn/index.ts'
import {
  type AttentionContext,
  AttentionModule,
  type AttentionRole,
  cachedAttention,
  crossAttention,
} from '../attention-context.ts'
import type { BartConfig } from '../config.ts'
import { createLinear } from '../init.ts'

/** What the layers read of a configuration. */
export type BartLayerConfig = Pick<
  BartConfig,
  | 'd_model'
  | 'encoder_attention_heads'
  | 'decoder_attention_heads'
  | 'encoder_ffn_dim'
  | 'decoder_ffn_dim'
  | 'activation_function'
  | 'dropout'
  | 'attention_dropout'
  | 'activation_dropout'
  | 'init_std'
>

/** An attention layer of BART, in any role. */
export class BartAttention extends AttentionModule {
  readonly numHeads: number
  readonly attentionDropout: number
  k_proj: Linear
  v_proj: Linear
  q_proj: Linear
  out_proj: Linear

  constructor(config: BartLayerConfig, role: AttentionRole, options: { keyBias?: boolean } = {}) {
    const { d_model: width, init_std: range } = config
    const heads = role === 'encoder' ? config.encoder_attention_heads : config.decoder_attention_heads
    super({ role, numKeyValueHeads: heads, headWidth: width / heads })
    this.numHeads = heads
    this.attentionDropout = config.attention_dropout
    this.k_proj = createLinear(width, width, range, options.keyBias)
    this.v_proj = createLinear(width, width, range)
    this.q_proj = createLinear(width, width, range)
    this.out_proj = createLinear(width, width, range)
  }

  /** @param hidden `[batch, sequence, hidden]` @returns the same shape */
  forward(hidden: Tensor, context: AttentionContext): Tensor {
    const options = { dropout: this.attentionDropout }
    const query = splitHeads(this.q_proj.forward(hidden), this.numHeads)
    const project = (x: Tensor) => ({
      key: splitHeads(this.k_proj.forward(x), this.numHeads),
      value: splitHeads(this.v_proj.forward(x), this.numHeads),
    })
    if (this.role === 'cross') {
      return this.out_proj.forward(mergeHeads(crossAttention(query, project, context, options)))
    }
    const { key, value } = project(hidden)
    return this.out_proj.forward(mergeHeads(cachedAttention(query, key, value, context, options)))
  }
}
