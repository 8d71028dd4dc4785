/** @file The layers of DeBERTa: BERT's with another attention, and a convolution beside the first. */
import { add, cast, mul, type Tensor, transpose, unsqueeze } from '../../graph/index.ts'
import {
  type Activation,
  Conv1d,
  Dropout,
  getActivation,
  LayerNorm,
  Module,
  normalInit,
  zerosInit,
} from '../../nn/index.ts'
import { BertIntermediate, BertOutput } from '../bert/layer.ts'
import type { DebertaV2Config } from '../config.ts'
import { DebertaV2Attention, type DebertaV2AttentionContext } from './attention.ts'

/** A layer of DeBERTa. */
export class DebertaV2Layer extends Module {
  attention: DebertaV2Attention
  intermediate: BertIntermediate
  output: BertOutput

  constructor(config: DebertaV2Config) {
    super()
    this.attention = new DebertaV2Attention(config)
    this.intermediate = new BertIntermediate(config)
    this.output = new BertOutput(config, config.intermediate_size, 'feedForward')
  }

  /** @param hidden `[batch, sequence, hidden]` @returns the same shape */
  forward(hidden: Tensor, context: DebertaV2AttentionContext): Tensor {
    const attended = this.attention.forward(hidden, context)
    return this.output.forward(this.intermediate.forward(attended), attended)
  }
}

/** A convolution over the embeddings that is added to the first layer's result. */
export class ConvLayer extends Module {
  readonly activation: Activation
  conv: Conv1d
  LayerNorm: LayerNorm
  dropout: Dropout

  constructor(config: DebertaV2Config) {
    super()
    const { hidden_size: width, conv_kernel_size: kernel, conv_groups: groups } = config
    this.activation = getActivation(config.conv_act)
    const init = { init: normalInit(config.initializer_range), biasInit: zerosInit }
    this.conv = new Conv1d(width, width, kernel, { padding: Math.floor((kernel - 1) / 2), groups, ...init })
    this.LayerNorm = new LayerNorm(width, { eps: config.layer_norm_eps })
    this.dropout = new Dropout(config.hidden_dropout_prob)
  }

  /**
   * @param embedded what the first layer read, `[batch, sequence, hidden]`
   * @param hidden the first layer's result
   * @param attended int64 `[batch, sequence]`, 0 where padding stands
   */
  forward(embedded: Tensor, hidden: Tensor, attended: Tensor | undefined): Tensor {
    const weights = attended && unsqueeze(cast(attended, 'float32'), [2])
    const masked = (x: Tensor) => (weights ? mul(x, weights) : x)
    const convolved = masked(transpose(this.conv.forward(transpose(embedded, [0, 2, 1])), [0, 2, 1]))
    return masked(this.LayerNorm.forward(add(hidden, this.activation(this.dropout.forward(convolved)))))
  }
}
