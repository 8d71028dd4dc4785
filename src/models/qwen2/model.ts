/** @file Qwen2 and Qwen2.5 (arXiv 2407.10671): Llama with biases on queries, keys and values, and sliding windows. */
import type { Qwen2Config } from '../config.ts'
import { LlamaForCausalLM, LlamaForSequenceClassification, LlamaModel } from '../llama/index.ts'
import type { LlamaLayerOptions } from '../llama/layer.ts'

/** The bare decoder. */
export class Qwen2Model extends LlamaModel<Qwen2Config> {
  static override readonly modelType: string = 'qwen2'

  protected override layerOptions(config: Qwen2Config, index: number): LlamaLayerOptions {
    const slides = config.layer_types[index] === 'sliding_attention'
    return {
      inputBias: true,
      outputBias: false,
      mlpBias: false,
      window: (slides && config.sliding_window) || undefined,
    }
  }
}

/** Qwen2 predicting the next token. */
export class Qwen2ForCausalLM extends LlamaForCausalLM<Qwen2Config> {
  static override readonly modelType: string = 'qwen2'

  protected override createModel(config: Qwen2Config): Qwen2Model {
    return new Qwen2Model(config)
  }
}

/** Qwen2 with a classifier over each sequence's last token. */
export class Qwen2ForSequenceClassification extends LlamaForSequenceClassification<Qwen2Config> {
  static override readonly modelType: string = 'qwen2'

  protected override createModel(config: Qwen2Config): Qwen2Model {
    return new Qwen2Model(config)
  }
}
