/** @file One layer of Llama: grouped attention with rotary positions and a gated feed-forward network. */
import { mul, type Tensor } from '../../graph/index.ts'
import {
  type Activation,
  getActivation,
  type Linear,
  Module,
  mergeHeads,
  Residual,
  RMSNorm,
  splitHeads,
} from '../../nn/index.ts'
import { type AttentionContext, AttentionModule, cachedAttention } from '../attention-context.ts'
import type { RopeParameters } from '../config.ts'
import { createLinear } from '../init.ts'
import type { TextConfig } from '../pretrained-model.ts'
import { applyRotary } from '../rope.ts'

/** What the configurations of Llama's family have in common. */
export interface LlamaFamilyConfig extends TextConfig {
  readonly num_hidden_layers: number
  readonly num_attention_heads: number
  readonly num_key_value_heads: number
  readonly head_dim: number
  readonly intermediate_size: number
  readonly hidden_act: string
  readonly max_position_embeddings: number
  readonly rms_norm_eps: number
  readonly rope_parameters: RopeParameters
  readonly attention_dropout: number
}

/** In what the layers of the family differ. */
export interface LlamaLayerOptions {
  /** Whether the projections to queries, keys and values have a bias. */
  inputBias: boolean
  /** Whether the projection of the attention's result has a bias. */
  outputBias: boolean
  /** Whether the projections of the feed-forward network have a bias. */
  mlpBias: boolean
  /** How many positions back a query sees, its own included; all by default. */
  window?: number
}

/** Llama's attention. */
export class LlamaAttention extends AttentionModule {
  readonly numHeads: number
  readonly attentionDropout: number
  q_proj: Linear
  k_proj: Linear
  v_proj: Linear
  o_proj: Linear

  constructor(config: LlamaFamilyConfig, options: LlamaLayerOptions) {
    const { hidden_size: hidden, head_dim: width, initializer_range: range } = config
    super({ role: 'decoder', numKeyValueHeads: config.num_key_value_heads, headWidth: width })
    this.numHeads = config.num_attention_heads
    this.attentionDropout = config.attention_dropout
    this.q_proj = createLinear(hidden, this.numHeads * width, range, options.inputBias)
    this.k_proj = createLinear(hidden, this.numKeyValueHeads * width, range, options.inputBias)
    this.v_proj = createLinear(hidden, this.numKeyValueHeads * width, range, options.inputBias)
    this.o_proj = createLinear(this.numHeads * width, hidden, range, options.outputBias)
  }

  /** @param hidden `[batch, sequence, hidden]` @returns the same shape */
  forward(hidden: Tensor, context: AttentionContext): Tensor {
    const rotary = context.rotary!
    const query = applyRotary(splitHeads(this.q_proj.forward(hidden), this.numHeads), rotary)
    const key = applyRotary(splitHeads(this.k_proj.forward(hidden), this.numKeyValueHeads), rotary)
    const value = splitHeads(this.v_proj.forward(hidden), this.numKeyValueHeads)
    const result = cachedAttention(query, key, value, context, { dropout: this.attentionDropout })
    return this.o_proj.forward(mergeHeads(result))
  }
}

/** Llama's gated feed-forward network (arXiv 2002.05202). */
export class LlamaMLP extends Module {
  readonly activation: Activation
  gate_proj: Linear
  up_proj: Linear
  down_proj: Linear

  constructor(config: LlamaFamilyConfig, options: LlamaLayerOptions) {
    super()
    const { hidden_size: hidden, intermediate_size: inner, initializer_range: range } = config
    this.activation = getActivation(config.hidden_act)
    this.gate_proj = createLinear(hidden, inner, range, options.mlpBias)
    this.up_proj = createLinear(hidden, inner, range, options.mlpBias)
    this.down_proj = createLinear(inner, hidden, range, options.mlpBias)
  }

  forward(hidden: Tensor): Tensor {
    return this.down_proj.forward(mul(this.activation(this.gate_proj.forward(hidden)), this.up_proj.forward(hidden)))
  }
}

/** A layer of Llama. */
export class LlamaDecoderLayer extends Module {
  readonly window: number | undefined
  self_attn: LlamaAttention
  mlp: LlamaMLP
  input_layernorm: RMSNorm
  post_attention_layernorm: RMSNorm
  attention_residual: Residual
  mlp_residual: Residual

  constructor(config: LlamaFamilyConfig, options: LlamaLayerOptions) {
    super()
    this.window = options.window
    this.self_attn = new LlamaAttention(config, options)
    this.mlp = new LlamaMLP(config, options)
    this.input_layernorm = new RMSNorm(config.hidden_size, { eps: config.rms_norm_eps })
    this.post_attention_layernorm = new RMSNorm(config.hidden_size, { eps: config.rms_norm_eps })
    this.attention_residual = new Residual('attention', config.hidden_size)
    this.mlp_residual = new Residual('feedForward', config.hidden_size)
  }

  /** @param hidden `[batch, sequence, hidden]` @returns the same shape */
  forward(hidden: Tensor, context: AttentionContext): Tensor {
    const attention = this.self_attn.forward(this.input_layernorm.forward(hidden), context)
    const attended = this.attention_residual.forward(attention, hidden)
    return this.mlp_residual.forward(this.mlp.forward(this.post_attention_layernorm.forward(attended)), attended)
  }
}
