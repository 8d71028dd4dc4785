/** @file Gemma (arXiv 2403.08295): Llama with scaled embeddings, factors around 1 and a GELU. */
import type { Embedding, RMSNorm } from '../../nn/index.ts'
import type { GemmaConfig } from '../config.ts'
import type { DecoderLayer } from '../decoder/index.ts'
import { LlamaForCausalLM, LlamaForSequenceClassification, LlamaModel } from '../llama/index.ts'
import type { LlamaFamilyConfig, LlamaLayerOptions } from '../llama/layer.ts'
import { GemmaDecoderLayer, GemmaEmbedding, GemmaRMSNorm } from './layer.ts'

/** The bare decoder. */
export class GemmaModel<
  C extends LlamaFamilyConfig & { readonly attention_bias: boolean } = GemmaConfig,
> extends LlamaModel<C> {
  static override readonly modelType: string = 'gemma'

  protected override createEmbedding(config: C): Embedding {
    return new GemmaEmbedding(config)
  }

  protected override createLayer(config: C, index: number): DecoderLayer {
    return new GemmaDecoderLayer(config, this.layerOptions(config, index))
  }

  protected override createNorm(config: C): RMSNorm {
    return new GemmaRMSNorm(config.hidden_size, { eps: config.rms_norm_eps })
  }

  protected override layerOptions({ attention_bias: bias }: C, _index: number): LlamaLayerOptions {
    return { inputBias: bias, outputBias: bias, mlpBias: false }
  }
}

/** Gemma predicting the next token. */
export class GemmaForCausalLM extends LlamaForCausalLM<GemmaConfig> {
  static override readonly modelType: string = 'gemma'

  protected override createModel(config: GemmaConfig): GemmaModel {
    return new GemmaModel(config)
  }
}

/** Gemma with a classifier over each sequence's last token. */
export class GemmaForSequenceClassification extends LlamaForSequenceClassification<GemmaConfig> {
  static override readonly modelType: string = 'gemma'

  protected override createModel(config: GemmaConfig): GemmaModel {
    return new GemmaModel(config)
  }
}
