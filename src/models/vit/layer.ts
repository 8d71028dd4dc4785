/** @file One layer of ViT: attention and a feed-forward network, each behind a normalisation. */
import type { Tensor } from '../../graph/index.ts'
import {
  type Activation,
  Dropout,
  getActivation,
  LayerNorm,
  type Linear,
  Module,
  mergeHeads,
  Residual,
  splitHeads,
} from '../../nn/index.ts'
import { type AttentionContext, AttentionModule, cachedAttention } from '../attention-context.ts'
import type { BertLayerConfig } from '../bert/layer.ts'
import type { ViTConfig } from '../config.ts'
import { createLinear } from '../init.ts'

/** What the attention reads of a configuration. */
export type ViTAttentionConfig = BertLayerConfig & Pick<ViTConfig, 'qkv_bias'>

/** ViT's attention with its output layer. */
export class ViTAttention extends AttentionModule {
  readonly numHeads: number
  readonly attentionDropout: number
  q_proj: Linear
  k_proj: Linear
  v_proj: Linear
  o_proj: Linear

  constructor(config: ViTAttentionConfig) {
    const { hidden_size: width, initializer_range: range, num_attention_heads: heads, qkv_bias } = config
    super({ role: 'encoder', numKeyValueHeads: heads, headWidth: width / heads })
    this.numHeads = heads
    this.attentionDropout = config.attention_probs_dropout_prob
    this.q_proj = createLinear(width, width, range, qkv_bias)
    this.k_proj = createLinear(width, width, range, qkv_bias)
    this.v_proj = createLinear(width, width, range, qkv_bias)
    this.o_proj = createLinear(width, width, range)
  }

  /** @param hidden `[batch, tokens, hidden]` @returns the same shape */
  forward(hidden: Tensor, context: AttentionContext): Tensor {
    const query = splitHeads(this.q_proj.forward(hidden), this.numHeads)
    const key = splitHeads(this.k_proj.forward(hidden), this.numHeads)
    const value = splitHeads(this.v_proj.forward(hidden), this.numHeads)
    const attended = cachedAttention(query, key, value, context, { dropout: this.attentionDropout })
    return this.o_proj.forward(mergeHeads(attended))
  }
}

/** What the feed-forward network reads of a configuration. */
export type ViTMLPConfig = Pick<
  BertLayerConfig,
  'hidden_size' | 'intermediate_size' | 'hidden_act' | 'initializer_range'
>

/** A feed-forward network of two layers. */
export class ViTMLP extends Module {
  readonly activation: Activation
  fc1: Linear
  fc2: Linear

  constructor({ hidden_size: width, intermediate_size: inner, hidden_act, initializer_range: range }: ViTMLPConfig) {
    super()
    this.activation = getActivation(hidden_act)
    this.fc1 = createLinear(width, inner, range)
    this.fc2 = createLinear(inner, width, range)
  }

  forward(hidden: Tensor): Tensor {
    return this.fc2.forward(this.activation(this.fc1.forward(hidden)))
  }
}

/** A layer of ViT. */
export class ViTLayer extends Module {
  attention: ViTAttention
  layernorm_before: LayerNorm
  layernorm_after: LayerNorm
  mlp: ViTMLP
  dropout: Dropout
  attention_residual: Residual
  mlp_residual: Residual

  constructor(config: ViTConfig) {
    super()
    const { hidden_size: width, layer_norm_eps: eps } = config
    this.attention = new ViTAttention(config)
    this.layernorm_before = new LayerNorm(width, { eps })
    this.layernorm_after = new LayerNorm(width, { eps })
    this.mlp = new ViTMLP(config)
    this.dropout = new Dropout(config.hidden_dropout_prob)
    this.attention_residual = new Residual('attention', width)
    this.mlp_residual = new Residual('feedForward', width)
  }

  /** @param hidden `[batch, tokens, hidden]` @returns the same shape */
  forward(hidden: Tensor, context: AttentionContext): Tensor {
    const attention = this.dropout.forward(this.attention.forward(this.layernorm_before.forward(hidden), context))
    const attended = this.attention_residual.forward(attention, hidden)
    const inner = this.dropout.forward(this.mlp.forward(this.layernorm_after.forward(attended)))
    return this.mlp_residual.forward(inner, attended)
  }
}
