/** @file One layer of ViT: BERT's parts with the normalisations in front. */
import type { Tensor } from '../../graph/index.ts'
import { Dropout, LayerNorm, type Linear, Module, Residual } from '../../nn/index.ts'
import type { AttentionContext } from '../attention-context.ts'
import { BertIntermediate, type BertLayerConfig, BertSelfAttention } from '../bert/layer.ts'
import type { ViTConfig } from '../config.ts'
import { createLinear } from '../init.ts'

/** A dense layer that ends a sublayer. */
export class ViTOutput extends Module {
  dense: Linear
  dropout: Dropout

  constructor(config: BertLayerConfig, inputWidth: number) {
    super()
    this.dense = createLinear(inputWidth, config.hidden_size, config.initializer_range)
    this.dropout = new Dropout(config.hidden_dropout_prob)
  }

  forward(x: Tensor): Tensor {
    return this.dropout.forward(this.dense.forward(x))
  }
}

/** ViT's attention with its output layer. */
export class ViTAttention extends Module {
  attention: BertSelfAttention
  output: ViTOutput

  constructor(config: BertLayerConfig & Pick<ViTConfig, 'qkv_bias'>) {
    super()
    this.attention = new BertSelfAttention(config, config.qkv_bias)
    this.output = new ViTOutput(config, config.hidden_size)
  }

  forward(hidden: Tensor, context: AttentionContext): Tensor {
    return this.output.forward(this.attention.forward(hidden, context))
  }
}

/** A layer of ViT. */
export class ViTLayer extends Module {
  attention: ViTAttention
  intermediate: BertIntermediate
  output: ViTOutput
  layernorm_before: LayerNorm
  layernorm_after: LayerNorm
  attention_residual: Residual
  mlp_residual: Residual

  constructor(config: ViTConfig) {
    super()
    const { hidden_size: width, layer_norm_eps: eps } = config
    this.attention = new ViTAttention(config)
    this.intermediate = new BertIntermediate(config)
    this.output = new ViTOutput(config, config.intermediate_size)
    this.layernorm_before = new LayerNorm(width, { eps })
    this.layernorm_after = new LayerNorm(width, { eps })
    this.attention_residual = new Residual('attention', width)
    this.mlp_residual = new Residual('feedForward', width)
  }

  /** @param hidden `[batch, tokens, hidden]` @returns the same shape */
  forward(hidden: Tensor, context: AttentionContext): Tensor {
    const attention = this.attention.forward(this.layernorm_before.forward(hidden), context)
    const attended = this.attention_residual.forward(attention, hidden)
    const inner = this.output.forward(this.intermediate.forward(this.layernorm_after.forward(attended)))
    return this.mlp_residual.forward(inner, attended)
  }
}
