/** @file OLMo 2 (arXiv 2501.00656): Llama with normalised queries and keys, and normalisations behind each sublayer. */
import type { Tensor } from '../../graph/index.ts'
import { Module, Residual, RMSNorm, splitHeads } from '../../nn/index.ts'
import type { AttentionContext } from '../attention-context.ts'
import type { Olmo2Config } from '../config.ts'
import type { Projections } from '../decoder/attention.ts'
import type { DecoderLayer } from '../decoder/index.ts'
import { LlamaForCausalLM, LlamaForSequenceClassification, LlamaModel } from '../llama/index.ts'
import { LlamaAttention, type LlamaLayerOptions, LlamaMLP } from '../llama/layer.ts'
import type { ModelClasses } from '../registry.ts'

/** OLMo 2's attention, whose queries and keys are normalised over all heads. */
class Olmo2Attention extends LlamaAttention {
  q_norm: RMSNorm
  k_norm: RMSNorm

  constructor(config: Olmo2Config, options: LlamaLayerOptions) {
    super(config, options)
    const { head_dim: width, rms_norm_eps: eps } = config
    this.q_norm = new RMSNorm(this.numHeads * width, { eps })
    this.k_norm = new RMSNorm(this.numKeyValueHeads * width, { eps })
  }

  protected override project(hidden: Tensor): Projections {
    return {
      query: splitHeads(this.q_norm.forward(this.q_proj.forward(hidden)), this.numHeads),
      key: splitHeads(this.k_norm.forward(this.k_proj.forward(hidden)), this.numKeyValueHeads),
      value: splitHeads(this.v_proj.forward(hidden), this.numKeyValueHeads),
    }
  }
}

/** A layer of OLMo 2. */
class Olmo2DecoderLayer extends Module {
  self_attn: Olmo2Attention
  mlp: LlamaMLP
  post_attention_layernorm: RMSNorm
  post_feedforward_layernorm: RMSNorm
  attention_residual: Residual
  mlp_residual: Residual

  constructor(config: Olmo2Config, options: LlamaLayerOptions) {
    super()
    const { hidden_size: width, rms_norm_eps: eps } = config
    this.self_attn = new Olmo2Attention(config, options)
    this.mlp = new LlamaMLP(config, options)
    this.post_attention_layernorm = new RMSNorm(width, { eps })
    this.post_feedforward_layernorm = new RMSNorm(width, { eps })
    this.attention_residual = new Residual('attention', width)
    this.mlp_residual = new Residual('feedForward', width)
  }

  /** @param hidden `[batch, sequence, hidden]` @returns the same shape */
  forward(hidden: Tensor, context: AttentionContext): Tensor {
    const attention = this.post_attention_layernorm.forward(this.self_attn.forward(hidden, context))
    const attended = this.attention_residual.forward(attention, hidden)
    return this.mlp_residual.forward(this.post_feedforward_layernorm.forward(this.mlp.forward(attended)), attended)
  }
}

/** The bare decoder. */
export class Olmo2Model extends LlamaModel<Olmo2Config> {
  static override readonly modelType: string = 'olmo2'

  protected override createLayer(config: Olmo2Config): DecoderLayer {
    const { attention_bias: bias } = config
    return new Olmo2DecoderLayer(config, { inputBias: bias, outputBias: bias, mlpBias: false })
  }
}

/** OLMo 2 predicting the next token. */
export class Olmo2ForCausalLM extends LlamaForCausalLM<Olmo2Config> {
  static override readonly modelType: string = 'olmo2'

  protected override createModel(config: Olmo2Config): Olmo2Model {
    return new Olmo2Model(config)
  }
}

/** OLMo 2 with a classifier over each sequence's last token. */
export class Olmo2ForSequenceClassification extends LlamaForSequenceClassification<Olmo2Config> {
  static override readonly modelType: string = 'olmo2'

  protected override createModel(config: Olmo2Config): Olmo2Model {
    return new Olmo2Model(config)
  }
}

/** OLMo 2's models by task. */
export const OLMO2_MODELS: ModelClasses = {
  FEATURE_EXTRACTION: Olmo2Model,
  SEQ_CLS: Olmo2ForSequenceClassification,
  CAUSAL_LM: Olmo2ForCausalLM,
}
