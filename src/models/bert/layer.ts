/** @file One layer of BERT: self-attention and a feed-forward network, each followed by a normalisation. */
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
  type Sublayer,
  splitHeads,
} from '../../nn/index.ts'
import { type AttentionContext, AttentionModule, cachedAttention } from '../attention-context.ts'
import type { BertFamilyConfig } from '../config.ts'
import { createLinear } from '../init.ts'

/** What the layers read of a configuration. */
export type BertLayerConfig = Pick<
  BertFamilyConfig,
  | 'hidden_size'
  | 'num_attention_heads'
  | 'intermediate_size'
  | 'hidden_act'
  | 'hidden_dropout_prob'
  | 'attention_probs_dropout_prob'
  | 'initializer_range'
  | 'layer_norm_eps'
>

/** Queries, keys and values of BERT's attention, and the attention itself. */
export class BertSelfAttention extends AttentionModule {
  readonly numHeads: number
  readonly attentionDropout: number
  query: Linear
  key: Linear
  value: Linear

  constructor(config: BertLayerConfig) {
    const { hidden_size: width, initializer_range: range, num_attention_heads: heads } = config
    super({ role: 'encoder', numKeyValueHeads: heads, headWidth: width / heads })
    this.numHeads = heads
    this.attentionDropout = config.attention_probs_dropout_prob
    this.query = createLinear(width, width, range)
    this.key = createLinear(width, width, range)
    this.value = createLinear(width, width, range)
  }

  /** @param hidden `[batch, sequence, hidden]` @returns the same shape */
  forward(hidden: Tensor, context: AttentionContext): Tensor {
    const query = splitHeads(this.query.forward(hidden), this.numHeads)
    const key = splitHeads(this.key.forward(hidden), this.numHeads)
    const value = splitHeads(this.value.forward(hidden), this.numHeads)
    return mergeHeads(cachedAttention(query, key, value, context, { dropout: this.attentionDropout }))
  }
}

/** A dense layer whose result is added to another tensor and normalised. */
export class BertOutput extends Module {
  dense: Linear
  LayerNorm: LayerNorm
  dropout: Dropout
  residual: Residual

  constructor(config: BertLayerConfig, inputWidth: number, sublayer: Sublayer) {
    super()
    this.dense = createLinear(inputWidth, config.hidden_size, config.initializer_range)
    this.LayerNorm = new LayerNorm(config.hidden_size, { eps: config.layer_norm_eps })
    this.dropout = new Dropout(config.hidden_dropout_prob)
    this.residual = new Residual(sublayer, config.hidden_size)
  }

  /** @param residual `[batch, sequence, hidden]` */
  forward(x: Tensor, residual: Tensor): Tensor {
    return this.residual.forward(this.dropout.forward(this.dense.forward(x)), residual, this.LayerNorm)
  }
}

/** BERT's attention with its output layer. */
export class BertAttention extends Module {
  self: BertSelfAttention
  output: BertOutput

  constructor(config: BertLayerConfig) {
    super()
    this.self = new BertSelfAttention(config)
    this.output = new BertOutput(config, config.hidden_size, 'attention')
  }

  forward(hidden: Tensor, context: AttentionContext): Tensor {
    return this.output.forward(this.self.forward(hidden, context), hidden)
  }
}

/** The widening half of BERT's feed-forward network. */
export class BertIntermediate extends Module {
  readonly activation: Activation
  dense: Linear

  constructor(config: BertLayerConfig) {
    super()
    this.activation = getActivation(config.hidden_act)
    this.dense = createLinear(config.hidden_size, config.intermediate_size, config.initializer_range)
  }

  forward(hidden: Tensor): Tensor {
    return this.activation(this.dense.forward(hidden))
  }
}

/** A layer of BERT. */
export class BertLayer extends Module {
  attention: BertAttention
  intermediate: BertIntermediate
  output: BertOutput

  constructor(config: BertLayerConfig) {
    super()
    this.attention = new BertAttention(config)
    this.intermediate = new BertIntermediate(config)
    this.output = new BertOutput(config, config.intermediate_size, 'feedForward')
  }

  /** @param hidden `[batch, sequence, hidden]` @returns the same shape */
  forward(hidden: Tensor, context: AttentionContext): Tensor {
    const attended = this.attention.forward(hidden, context)
    return this.output.forward(this.intermediate.forward(attended), attended)
  }
}
