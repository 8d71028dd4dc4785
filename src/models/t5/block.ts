/** @file One block of T5: its sublayers, each with a normalisation before it and a residual connection around it. */
import { mul, type Tensor } from '../../graph/index.ts'
import {
  type Activation,
  Dropout,
  getActivation,
  type Linear,
  Module,
  ModuleList,
  Residual,
  RMSNorm,
} from '../../nn/index.ts'
import type { AttentionContext } from '../attention-context.ts'
import type { T5FamilyConfig } from '../config.ts'
import { createLinear } from '../init.ts'
import { T5Attention, type T5AttentionContext } from './attention.ts'

/** What a block hands to its sublayers. */
export interface T5BlockContext {
  self: T5AttentionContext
  /** In a decoder. */
  cross?: AttentionContext
}

const createNorm = (config: T5FamilyConfig) => new RMSNorm(config.d_model, { eps: config.layer_norm_epsilon })

/** Attention within a sequence. */
export class T5LayerSelfAttention extends Module {
  SelfAttention: T5Attention
  layer_norm: RMSNorm
  dropout: Dropout
  residual: Residual

  constructor(config: T5FamilyConfig, role: 'encoder' | 'decoder', isFirst: boolean) {
    super()
    this.SelfAttention = new T5Attention(config, role, isFirst)
    this.layer_norm = createNorm(config)
    this.dropout = new Dropout(config.dropout_rate)
    this.residual = new Residual('attention', config.d_model)
  }

  forward(hidden: Tensor, { self }: T5BlockContext): Tensor {
    const attended = this.SelfAttention.forward(this.layer_norm.forward(hidden), self)
    return this.residual.forward(this.dropout.forward(attended), hidden)
  }
}

/** Attention to the encoder's result. */
export class T5LayerCrossAttention extends Module {
  EncDecAttention: T5Attention
  layer_norm: RMSNorm
  dropout: Dropout
  residual: Residual

  constructor(config: T5FamilyConfig) {
    super()
    this.EncDecAttention = new T5Attention(config, 'cross', false)
    this.layer_norm = createNorm(config)
    this.dropout = new Dropout(config.dropout_rate)
    this.residual = new Residual('crossAttention', config.d_model)
  }

  forward(hidden: Tensor, { cross }: T5BlockContext): Tensor {
    const attended = this.EncDecAttention.forward(this.layer_norm.forward(hidden), cross!)
    return this.residual.forward(this.dropout.forward(attended), hidden)
  }
}

/** The feed-forward network. */
export class T5DenseActDense extends Module {
  readonly activation: Activation
  wi: Linear
  wo: Linear
  dropout: Dropout

  constructor(config: T5FamilyConfig) {
    super()
    const { d_model: width, d_ff: inner, initializer_factor: factor } = config
    this.activation = getActivation(config.dense_act_fn)
    this.wi = createLinear(width, inner, factor / Math.sqrt(width), false)
    this.wo = createLinear(inner, width, factor / Math.sqrt(inner), false)
    this.dropout = new Dropout(config.dropout_rate)
  }

  forward(hidden: Tensor): Tensor {
    return this.wo.forward(this.dropout.forward(this.activation(this.wi.forward(hidden))))
  }
}

/** The gated feed-forward network (arXiv 2002.05202). */
export class T5DenseGatedActDense extends Module {
  readonly activation: Activation
  wi_0: Linear
  wi_1: Linear
  wo: Linear
  dropout: Dropout

  constructor(config: T5FamilyConfig) {
    super()
    const { d_model: width, d_ff: inner, initializer_factor: factor } = config
    this.activation = getActivation(config.dense_act_fn)
    this.wi_0 = createLinear(width, inner, factor / Math.sqrt(width), false)
    this.wi_1 = createLinear(width, inner, factor / Math.sqrt(width), false)
    this.wo = createLinear(inner, width, factor / Math.sqrt(inner), false)
    this.dropout = new Dropout(config.dropout_rate)
  }

  forward(hidden: Tensor): Tensor {
    const gated = mul(this.activation(this.wi_0.forward(hidden)), this.wi_1.forward(hidden))
    return this.wo.forward(this.dropout.forward(gated))
  }
}

/** The feed-forward network as a sublayer. */
export class T5LayerFF extends Module {
  DenseReluDense: T5DenseActDense | T5DenseGatedActDense
  layer_norm: RMSNorm
  dropout: Dropout
  residual: Residual

  constructor(config: T5FamilyConfig) {
    super()
    this.DenseReluDense = config.is_gated_act ? new T5DenseGatedActDense(config) : new T5DenseActDense(config)
    this.layer_norm = createNorm(config)
    this.dropout = new Dropout(config.dropout_rate)
    this.residual = new Residual('feedForward', config.d_model)
  }

  forward(hidden: Tensor, _context: T5BlockContext): Tensor {
    const result = this.DenseReluDense.forward(this.layer_norm.forward(hidden))
    return this.residual.forward(this.dropout.forward(result), hidden)
  }
}

/** A block of the encoder (attention, feed-forward network) or of the decoder (with cross-attention between them). */
export class T5Block extends Module {
  layer: ModuleList<T5LayerSelfAttention | T5LayerCrossAttention | T5LayerFF>

  constructor(config: T5FamilyConfig, role: 'encoder' | 'decoder', isFirst: boolean) {
    super()
    const cross = role === 'decoder' ? [new T5LayerCrossAttention(config)] : []
    this.layer = new ModuleList([new T5LayerSelfAttention(config, role, isFirst), ...cross, new T5LayerFF(config)])
  }

  /** @param hidden `[batch, sequence, hidden]` @returns the same shape */
  forward(hidden: Tensor, context: T5BlockContext): Tensor {
    let state = hidden
    for (const layer of this.layer) state = layer.forward(state, context)
    return state
  }
}
