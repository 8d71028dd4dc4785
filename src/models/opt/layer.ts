/** @file One layer of OPT. */
import type { Tensor } from '../../graph/index.ts'
import {
  type Activation,
  Dropout,
  getActivation,
  LayerNorm,
  type Linear,
  Module,
  Residual,
  splitHeads,
} from '../../nn/index.ts'
import type { AttentionContext } from '../attention-context.ts'
import type { OPTConfig } from '../config.ts'
import { DecoderAttention, type Projections } from '../decoder/attention.ts'
import { createLinear } from '../init.ts'

/** OPT's attention. */
export class OPTAttention extends DecoderAttention {
  k_proj: Linear
  v_proj: Linear
  q_proj: Linear
  out_proj: Linear

  constructor(config: OPTConfig) {
    const { hidden_size: width, num_attention_heads: heads, init_std, enable_bias: bias } = config
    super({ numHeads: heads, numKeyValueHeads: heads, headWidth: width / heads, dropout: config.attention_dropout })
    this.k_proj = createLinear(width, width, init_std, bias)
    this.v_proj = createLinear(width, width, init_std, bias)
    this.q_proj = createLinear(width, width, init_std, bias)
    this.out_proj = createLinear(width, width, init_std, bias)
  }

  protected project(hidden: Tensor): Projections {
    return {
      query: splitHeads(this.q_proj.forward(hidden), this.numHeads),
      key: splitHeads(this.k_proj.forward(hidden), this.numHeads),
      value: splitHeads(this.v_proj.forward(hidden), this.numHeads),
    }
  }

  protected combine(heads: Tensor): Tensor {
    return this.out_proj.forward(heads)
  }
}

/** A layer of OPT, normalised before its sublayers or, in OPT 350M, behind them. */
export class OPTDecoderLayer extends Module {
  readonly activation: Activation
  readonly normalizesBefore: boolean
  self_attn: OPTAttention
  self_attn_layer_norm: LayerNorm
  fc1: Linear
  fc2: Linear
  final_layer_norm: LayerNorm
  dropout: Dropout
  attention_residual: Residual
  mlp_residual: Residual

  constructor(config: OPTConfig) {
    super()
    const { hidden_size: width, ffn_dim: inner, init_std, enable_bias: bias } = config
    this.activation = getActivation(config.activation_function)
    this.normalizesBefore = config.do_layer_norm_before
    this.self_attn = new OPTAttention(config)
    this.self_attn_layer_norm = new LayerNorm(width)
    this.fc1 = createLinear(width, inner, init_std, bias)
    this.fc2 = createLinear(inner, width, init_std, bias)
    this.final_layer_norm = new LayerNorm(width)
    this.dropout = new Dropout(config.dropout)
    this.attention_residual = new Residual('attention', width)
    this.mlp_residual = new Residual('feedForward', width)
  }

  /** @param hidden `[batch, sequence, hidden]` @returns the same shape */
  forward(hidden: Tensor, context: AttentionContext): Tensor {
    const before = (norm: LayerNorm, x: Tensor) => (this.normalizesBefore ? norm.forward(x) : x)
    const behind = (norm: LayerNorm) => (this.normalizesBefore ? undefined : norm)
    const attention = this.self_attn.forward(before(this.self_attn_layer_norm, hidden), context)
    const attended = this.attention_residual.forward(
      this.dropout.forward(attention),
      hidden,
      behind(this.self_attn_layer_norm),
    )
    const inner = this.fc2.forward(this.activation(this.fc1.forward(before(this.final_layer_norm, attended))))
    return this.mlp_residual.forward(this.dropout.forward(inner), attended, behind(this.final_layer_norm))
  }
}
