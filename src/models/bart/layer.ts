/** @file The layers of BART's encoder and decoder: sublayers, each followed by a normalisation. */
import type { Tensor } from '../../graph/index.ts'
import { type Activation, Dropout, getActivation, LayerNorm, type Linear, Module, Residual } from '../../nn/index.ts'
import type { AttentionContext, AttentionRole } from '../attention-context.ts'
import { createLinear } from '../init.ts'
import { BartAttention, type BartLayerConfig } from './attention.ts'

/** What both kinds of layers have: attention within the sequence and a feed-forward network. */
abstract class BartLayer extends Module {
  readonly activation: Activation
  self_attn: BartAttention
  self_attn_layer_norm: LayerNorm
  fc1: Linear
  fc2: Linear
  final_layer_norm: LayerNorm
  dropout: Dropout
  activation_dropout: Dropout
  attention_residual: Residual
  mlp_residual: Residual

  constructor(config: BartLayerConfig, role: 'encoder' | 'decoder') {
    super()
    const { d_model: width, init_std: range } = config
    const inner = role === 'encoder' ? config.encoder_ffn_dim : config.decoder_ffn_dim
    this.activation = getActivation(config.activation_function)
    this.self_attn = this.createAttention(config, role)
    this.self_attn_layer_norm = new LayerNorm(width)
    this.fc1 = createLinear(width, inner, range)
    this.fc2 = createLinear(inner, width, range)
    this.final_layer_norm = new LayerNorm(width)
    this.dropout = new Dropout(config.dropout)
    this.activation_dropout = new Dropout(config.activation_dropout)
    this.attention_residual = new Residual('attention', width)
    this.mlp_residual = new Residual('feedForward', width)
  }

  /** Builds an attention layer. */
  protected createAttention(config: BartLayerConfig, role: AttentionRole): BartAttention {
    return new BartAttention(config, role)
  }

  /** Whether a sublayer's normalisation stands in front of it and not behind the sum. */
  protected get normalizesFirst(): boolean {
    return false
  }

  /** One sublayer: what it computes, its normalisation, and the sum with the residual stream. */
  protected sublayer(
    hidden: Tensor,
    { norm, residual }: { norm: LayerNorm; residual: Residual },
    compute: (x: Tensor) => Tensor,
  ): Tensor {
    const result = this.dropout.forward(compute(this.normalizesFirst ? norm.forward(hidden) : hidden))
    return residual.forward(result, hidden, this.normalizesFirst ? undefined : norm)
  }

  protected attend(hidden: Tensor, context: AttentionContext): Tensor {
    const at = { norm: this.self_attn_layer_norm, residual: this.attention_residual }
    return this.sublayer(hidden, at, x => this.self_attn.forward(x, context))
  }

  protected feedForward(hidden: Tensor): Tensor {
    const at = { norm: this.final_layer_norm, residual: this.mlp_residual }
    const inner = (x: Tensor) => this.activation_dropout.forward(this.activation(this.fc1.forward(x)))
    return this.sublayer(hidden, at, x => this.fc2.forward(inner(x)))
  }
}

/** A layer of the encoder. */
export class BartEncoderLayer extends BartLayer {
  constructor(config: BartLayerConfig) {
    super(config, 'encoder')
  }

  /** @param hidden `[batch, sequence, hidden]` @returns the same shape */
  forward(hidden: Tensor, context: AttentionContext): Tensor {
    return this.feedForward(this.attend(hidden, context))
  }
}

/** A layer of the decoder. */
export class BartDecoderLayer extends BartLayer {
  encoder_attn: BartAttention
  encoder_attn_layer_norm: LayerNorm
  cross_attention_residual: Residual

  constructor(config: BartLayerConfig) {
    super(config, 'decoder')
    this.encoder_attn = this.createAttention(config, 'cross')
    this.encoder_attn_layer_norm = new LayerNorm(config.d_model)
    this.cross_attention_residual = new Residual('crossAttention', config.d_model)
  }

  /** @param hidden `[batch, sequence, hidden]` @returns the same shape */
  forward(hidden: Tensor, context: AttentionContext, cross: AttentionContext): Tensor {
    const attended = this.attend(hidden, context)
    const at = { norm: this.encoder_attn_layer_norm, residual: this.cross_attention_residual }
    return this.feedForward(this.sublayer(attended, at, x => this.encoder_attn.forward(x, cross)))
  }
}
