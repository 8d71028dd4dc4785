/** @file Qwen3 (arXiv 2505.09388): Qwen2 with normalised heads in place of biases. */
import type { Qwen3Config } from '../config.ts'
import type { DecoderAttention } from '../decoder/attention.ts'
import { LlamaForCausalLM, LlamaForSequenceClassification, LlamaModel } from '../llama/index.ts'
import { LlamaDecoderLayer, type LlamaFamilyConfig, type LlamaLayerOptions } from '../llama/layer.ts'
import { Qwen3Attention } from './attention.ts'

/** A layer of Qwen3. */
export class Qwen3DecoderLayer<C extends LlamaFamilyConfig = Qwen3Config> extends LlamaDecoderLayer<C> {
  protected override createAttention(config: C, options: LlamaLayerOptions): DecoderAttention {
    return new Qwen3Attention(config, options)
  }
}

/** The bare decoder. */
export class Qwen3Model extends LlamaModel<Qwen3Config> {
  static override readonly modelType: string = 'qwen3'

  protected override createLayer(config: Qwen3Config, index: number): Qwen3DecoderLayer {
    return new Qwen3DecoderLayer(config, this.layerOptions(config, index))
  }

  protected override layerOptions(config: Qwen3Config, index: number): LlamaLayerOptions {
    const slides = config.layer_types[index] === 'sliding_attention'
    return {
      inputBias: config.attention_bias,
      outputBias: config.attention_bias,
      mlpBias: false,
      window: (slides && config.sliding_window) || undefined,
    }
  }
}

/** Qwen3 predicting the next token. */
export class Qwen3ForCausalLM extends LlamaForCausalLM<Qwen3Config> {
  static override readonly modelType: string = 'qwen3'

  protected override createModel(config: Qwen3Config): Qwen3Model {
    return new Qwen3Model(config)
  }
}

/** Qwen3 with a classifier over each sequence's last token. */
export class Qwen3ForSequenceClassification extends LlamaForSequenceClassification<Qwen3Config> {
  static override readonly modelType: string = 'qwen3'

  protected override createModel(config: Qwen3Config): Qwen3Model {
    return new Qwen3Model(config)
  }
}
