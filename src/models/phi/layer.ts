/** @file One layer of Phi: attention and feed-forward network side by side, over one normalisation. */
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
import type { PhiConfig } from '../config.ts'
import { DecoderAttention, type Projections } from '../decoder/attention.ts'
import { createLinear } from '../init.ts'

/** Phi's attention. */
export class PhiAttention extends DecoderAttention {
  q_proj: Linear
  k_proj: Linear
  v_proj: Linear
  dense: Linear
  q_layernorm: LayerNorm | undefined
  k_layernorm: LayerNorm | undefined

  constructor(config: PhiConfig) {
    const { hidden_size: hidden, num_attention_heads: heads, initializer_range: range, layer_norm_eps: eps } = config
    super({
      numHeads: heads,
      numKeyValueHeads: config.num_key_value_heads,
      headWidth: hidden / heads,
      dropout: config.attention_dropout,
    })
    const inner = this.numKeyValueHeads * this.headWidth
    this.q_proj = createLinear(hidden, hidden, range)
    this.k_proj = createLinear(hidden, inner, range)
    this.v_proj = createLinear(hidden, inner, range)
    this.dense = createLinear(hidden, hidden, range)
    this.q_layernorm = config.qk_layernorm ? new LayerNorm(this.headWidth, { eps }) : undefined
    this.k_layernorm = config.qk_layernorm ? new LayerNorm(this.headWidth, { eps }) : undefined
  }

  protected project(hidden: Tensor): Projections {
    const query = splitHeads(this.q_proj.forward(hidden), this.numHeads)
    const key = splitHeads(this.k_proj.forward(hidden), this.numKeyValueHeads)
    return {
      query: this.q_layernorm?.forward(query) ?? query,
      key: this.k_layernorm?.forward(key) ?? key,
      value: splitHeads(this.v_proj.forward(hidden), this.numKeyValueHeads),
    }
  }

  protected combine(heads: Tensor): Tensor {
    return this.dense.forward(heads)
  }
}

/** A feed-forward network of two layers. */
export class PhiMLP extends Module {
  readonly activation: Activation
  fc1: Linear
  fc2: Linear

  constructor(config: PhiConfig) {
    super()
    const { hidden_size: hidden, intermediate_size: inner, initializer_range: range } = config
    this.activation = getActivation(config.hidden_act)
    this.fc1 = createLinear(hidden, inner, range)
    this.fc2 = createLinear(inner, hidden, range)
  }

  forward(hidden: Tensor): Tensor {
    return this.fc2.forward(this.activation(this.fc1.forward(hidden)))
  }
}

/** A layer of Phi. */
export class PhiDecoderLayer extends Module {
  self_attn: PhiAttention
  mlp: PhiMLP
  input_layernorm: LayerNorm
  resid_dropout: Dropout
  attention_residual: Residual
  mlp_residual: Residual

  constructor(config: PhiConfig) {
    super()
    this.self_attn = new PhiAttention(config)
    this.mlp = new PhiMLP(config)
    this.input_layernorm = new LayerNorm(config.hidden_size, { eps: config.layer_norm_eps })
    this.resid_dropout = new Dropout(config.resid_pdrop)
    this.attention_residual = new Residual('attention', config.hidden_size)
    this.mlp_residual = new Residual('feedForward', config.hidden_size)
  }

  /** @param hidden `[batch, sequence, hidden]` @returns the same shape */
  forward(hidden: Tensor, context: AttentionContext): Tensor {
    const read = this.input_layernorm.forward(hidden)
    const attention = this.resid_dropout.forward(this.self_attn.forward(read, context))
    const attended = this.attention_residual.forward(attention, hidden)
    return this.mlp_residual.forward(this.resid_dropout.forward(this.mlp.forward(read)), attended)
  }
}
