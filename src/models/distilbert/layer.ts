/** @file One layer of DistilBERT: BERT's, with names of its own. */
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
import type { DistilBertConfig } from '../config.ts'
import { createLinear } from '../init.ts'

/** What the normalisations divide by at least; the configuration has no word on it. */
export const DISTILBERT_EPSILON = 1e-12

/** DistilBERT's attention. */
export class DistilBertSelfAttention extends AttentionModule {
  readonly numHeads: number
  readonly attentionDropout: number
  q_lin: Linear
  k_lin: Linear
  v_lin: Linear
  out_lin: Linear

  constructor(config: DistilBertConfig) {
    const { dim: width, n_heads: heads, initializer_range: range } = config
    super({ role: 'encoder', numKeyValueHeads: heads, headWidth: width / heads })
    this.numHeads = heads
    this.attentionDropout = config.attention_dropout
    this.q_lin = createLinear(width, width, range)
    this.k_lin = createLinear(width, width, range)
    this.v_lin = createLinear(width, width, range)
    this.out_lin = createLinear(width, width, range)
  }

  /** @param hidden `[batch, sequence, hidden]` @returns the same shape */
  forward(hidden: Tensor, context: AttentionContext): Tensor {
    const [query, key, value] = [this.q_lin, this.k_lin, this.v_lin].map(layer => {
      return splitHeads(layer.forward(hidden), this.numHeads)
    })
    const result = cachedAttention(query, key, value, context, { dropout: this.attentionDropout })
    return this.out_lin.forward(mergeHeads(result))
  }
}

/** DistilBERT's feed-forward network. */
export class DistilBertFFN extends Module {
  readonly activation: Activation
  lin1: Linear
  lin2: Linear
  dropout: Dropout

  constructor(config: DistilBertConfig) {
    super()
    this.activation = getActivation(config.activation)
    this.lin1 = createLinear(config.dim, config.hidden_dim, config.initializer_range)
    this.lin2 = createLinear(config.hidden_dim, config.dim, config.initializer_range)
    this.dropout = new Dropout(config.dropout)
  }

  forward(hidden: Tensor): Tensor {
    return this.dropout.forward(this.lin2.forward(this.activation(this.lin1.forward(hidden))))
  }
}

/** A layer of DistilBERT. */
export class DistilBertLayer extends Module {
  attention: DistilBertSelfAttention
  sa_layer_norm: LayerNorm
  ffn: DistilBertFFN
  output_layer_norm: LayerNorm
  attention_residual: Residual
  mlp_residual: Residual

  constructor(config: DistilBertConfig) {
    super()
    this.attention = new DistilBertSelfAttention(config)
    this.sa_layer_norm = new LayerNorm(config.dim, { eps: DISTILBERT_EPSILON })
    this.ffn = new DistilBertFFN(config)
    this.output_layer_norm = new LayerNorm(config.dim, { eps: DISTILBERT_EPSILON })
    this.attention_residual = new Residual('attention', config.dim)
    this.mlp_residual = new Residual('feedForward', config.dim)
  }

  /** @param hidden `[batch, sequence, hidden]` @returns the same shape */
  forward(hidden: Tensor, context: AttentionContext): Tensor {
    const attended = this.attention_residual.forward(
      this.attention.forward(hidden, context),
      hidden,
      this.sa_layer_norm,
    )
    return this.mlp_residual.forward(this.ffn.forward(attended), attended, this.output_layer_norm)
  }
}
