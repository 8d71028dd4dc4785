/** @file One layer of Gemma 2: each sublayer between two normalisations, scores scaled and bounded. */
import type { Tensor } from '../../graph/index.ts'
import type { RMSNorm } from '../../nn/index.ts'
import type { AttentionContext, ContextAttentionOptions } from '../attention-context.ts'
import type { Gemma2FamilyConfig } from '../config.ts'
import type { DecoderAttention } from '../decoder/attention.ts'
import { GemmaDecoderLayer } from '../gemma/layer.ts'
import { LlamaAttention, type LlamaLayerOptions } from '../llama/layer.ts'

/** Gemma 2's attention. */
export class Gemma2Attention extends LlamaAttention {
  readonly scale: number
  readonly softcap: number | undefined

  constructor(config: Gemma2FamilyConfig, options: LlamaLayerOptions) {
    super(config, options)
    this.scale = 1 / Math.sqrt(config.query_pre_attn_scalar)
    this.softcap = config.attn_logit_softcapping ?? undefined
  }

  protected override get scoreOptions(): ContextAttentionOptions {
    return { dropout: this.attentionDropout, scale: this.scale, softcap: this.softcap }
  }
}

/** A layer of Gemma 2. */
export class Gemma2DecoderLayer<C extends Gemma2FamilyConfig> extends GemmaDecoderLayer<C> {
  pre_feedforward_layernorm: RMSNorm
  post_feedforward_layernorm: RMSNorm

  constructor(config: C, options: LlamaLayerOptions) {
    super(config, options)
    this.pre_feedforward_layernorm = this.createNorm(config)
    this.post_feedforward_layernorm = this.createNorm(config)
  }

  protected override createAttention(config: C, options: LlamaLayerOptions): DecoderAttention {
    return new Gemma2Attention(config, options)
  }

  override forward(hidden: Tensor, context: AttentionContext): Tensor {
    const attention = this.self_attn.forward(this.input_layernorm.forward(hidden), context)
    const attended = this.attention_residual.forward(this.post_attention_layernorm.forward(attention), hidden)
    const inner = this.mlp.forward(this.pre_feedforward_layernorm.forward(attended))
    return this.mlp_residual.forward(this.post_feedforward_layernorm.forward(inner), attended)
  }
}
