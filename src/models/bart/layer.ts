/** @file The layers of BART's encoder and decoder: sublayers, each followed by a normalisation. */
import type { Tensor } from '../../graph/index.ts'
import { type Activation, Dropout, getActivation, LayerNorm, type Linear, Module, Residual } from '../../nn/index.ts'
import type { AttentionContext } from '../attention-context.ts'
import type { BartConfig } from '../config.ts'
import { createLinear } from '../init.ts'
import { BartAttention } from './attention.ts'

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

  constructor(config: BartConfig, role: 'encoder' | 'decoder') {
    super()
    const { d_model: width, init_std: range } = config
    const inner = role === 'encoder' ? config.encoder_ffn_dim : config.decoder_ffn_dim
    this.activation = getActivation(config.activation_function)
    this.self_attn = new BartAttention(config, role)
    this.self_attn_layer_norm = new LayerNorm(width)
    this.fc1 = createLinear(width, inner, range)
    this.fc2 = createLinear(inner, width, range)
    this.final_layer_norm = new LayerNorm(width)
    this.dropout = new Dropout(config.dropout)
    this.activation_dropout = new Dropout(config.activation_dropout)
    this.attention_residual = new Residual('attention', width)
    this.mlp_residual = new Residual('feedForward', width)
  }

  protected attend(hidden: Tensor, context: AttentionContext): Tensor {
    const attended = this.dropout.forward(this.self_attn.forward(hidden, context))
    return this.attention_residual.forward(attended, hidden, this.self_attn_layer_norm)
  }

  protected feedForward(hidden: Tensor): Tensor {
    const inner = this.activation_dropout.forward(this.activation(this.fc1.forward(hidden)))
    const result = this.dropout.forward(this.fc2.forward(inner))
    return this.mlp_residual.forward(result, hidden, this.final_layer_norm)
  }
}

/** A layer of the encoder. */
export class BartEncoderLayer extends BartLayer {
  constructor(config: BartConfig) {
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

  constructor(config: BartConfig) {
    super(config, 'decoder')
    this.encoder_attn = new BartAttention(config, 'cross')
    this.encoder_attn_layer_norm = new LayerNorm(config.d_model)
    this.cross_attention_residual = new Residual('crossAttention', config.d_model)
  }

  /** @param hidden `[batch, sequence, hidden]` @returns the same shape */
  forward(hidden: Tensor, context: AttentionContext, cross: AttentionContext): Tensor {
    const attended = this.attend(hidden, context)
    const read = this.dropout.forward(this.encoder_attn.forward(attended, cross))
    return this.feedForward(this.cross_attention_residual.forward(read, attended, this.encoder_attn_layer_norm))
  }
}
