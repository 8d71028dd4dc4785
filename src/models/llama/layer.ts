/** @file One layer of Llama: grouped attention with rotary positions and a gated feed-forward network. */
import { mul, type Tensor } from '../../graph/index.ts'
import { type Activation, getActivation, type Linear, Module, Residual, RMSNorm, splitHeads } from '../../nn/index.ts'
import type { AttentionContext } from '../attention-context.ts'
import type { RopeParameters } from '../config.ts'
import { DecoderAttention, type Projections } from '../decoder/attention.ts'
import { createLinear } from '../init.ts'
import type { TextConfig } from '../pretrained-model.ts'

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
  /** Whether the output layer is the embedding matrix. */
  readonly tie_word_embeddings: boolean
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
export class LlamaAttention extends DecoderAttention {
  q_proj: Linear
  k_proj: Linear
  v_proj: Linear
  o_proj: Linear

  constructor(config: LlamaFamilyConfig, options: LlamaLayerOptions) {
    const { hidden_size: hidden, head_dim: width, initializer_range: range } = config
    super({
      numHeads: config.num_attention_heads,
      numKeyValueHeads: config.num_key_value_heads,
      headWidth: width,
      dropout: config.attention_dropout,
    })
    this.q_proj = createLinear(hidden, this.numHeads * width, range, options.inputBias)
    this.k_proj = createLinear(hidden, this.numKeyValueHeads * width, range, options.inputBias)
    this.v_proj = createLinear(hidden, this.numKeyValueHeads * width, range, options.inputBias)
    this.o_proj = createLinear(this.numHeads * width, hidden, range, options.outputBias)
  }

  protected project(hidden: Tensor): Projections {
    return {
      query: splitHeads(this.q_proj.forward(hidden), this.numHeads),
      key: splitHeads(this.k_proj.forward(hidden), this.numKeyValueHeads),
      value: splitHeads(this.v_proj.forward(hidden), this.numKeyValueHeads),
    }
  }

  protected combine(heads: Tensor): Tensor {
    return this.o_proj.forward(heads)
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

/** A feed-forward network: a module from hidden states to hidden states. */
export interface FeedForward extends Module {
  forward(hidden: Tensor): Tensor
}

/** A layer of Llama. Kindred architectures override how its parts are made. */
export class LlamaDecoderLayer<C extends LlamaFamilyConfig = LlamaFamilyConfig> extends Module {
  readonly window: number | undefined
  self_attn: DecoderAttention
  mlp: FeedForward
  input_layernorm: RMSNorm
  post_attention_layernorm: RMSNorm
  attention_residual: Residual
  mlp_residual: Residual

  constructor(config: C, options: LlamaLayerOptions) {
    super()
    this.window = options.window
    this.self_attn = this.createAttention(config, options)
    this.mlp = this.createMLP(config, options)
    this.input_layernorm = this.createNorm(config)
    this.post_attention_layernorm = this.createNorm(config)
    this.attention_residual = new Residual('attention', config.hidden_size)
    this.mlp_residual = new Residual('feedForward', config.hidden_size)
  }

  /** Builds the attention. */
  protected createAttention(config: C, options: LlamaLayerOptions): DecoderAttention {
    return new LlamaAttention(config, options)
  }

  /** Builds the feed-forward network. */
  protected createMLP(config: C, options: LlamaLayerOptions): FeedForward {
    return new LlamaMLP(config, options)
  }

  /** Builds a normalisation. */
  protected createNorm(config: C): RMSNorm {
    return new RMSNorm(config.hidden_size, { eps: config.rms_norm_eps })
  }

  /** @param hidden `[batch, sequence, hidden]` @returns the same shape */
  forward(hidden: Tensor, context: AttentionContext): Tensor {
    const attention = this.self_attn.forward(this.input_layernorm.forward(hidden), context)
    const attended = this.attention_residual.forward(attention, hidden)
    return this.mlp_residual.forward(this.mlp.forward(this.post_attention_layernorm.forward(attended)), attended)
  }
}
