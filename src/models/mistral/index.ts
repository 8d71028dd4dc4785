/** @file Mistral (arXiv 2310.06825): Llama in which every layer slides. */
import type { MistralConfig } from '../config.ts'
import { LlamaForCausalLM, LlamaForSequenceClassification, LlamaModel } from '../llama/index.ts'
import type { LlamaLayerOptions } from '../llama/layer.ts'
import type { ModelClasses } from '../registry.ts'

/** The bare decoder. */
export class MistralModel extends LlamaModel<MistralConfig> {
  static override readonly modelType: string = 'mistral'

  protected override layerOptions(config: MistralConfig): LlamaLayerOptions {
    return { inputBias: false, outputBias: false, mlpBias: false, window: config.sliding_window ?? undefined }
  }
}

/** Mistral predicting the next token. */
export class MistralForCausalLM extends LlamaForCausalLM<MistralConfig> {
  static override readonly modelType: string = 'mistral'

  protected override createModel(config: MistralConfig): MistralModel {
    return new MistralModel(config)
  }
}

/** Mistral with a classifier over each sequence's last token. */
export class MistralForSequenceClassification extends LlamaForSequenceClassification<MistralConfig> {
  static override readonly modelType: string = 'mistral'

  protected override createModel(config: MistralConfig): MistralModel {
    return new MistralModel(config)
  }
}

/** Mistral's models by task. */
export const MISTRAL_MODELS: ModelClasses = {
  FEATURE_EXTRACTION: MistralModel,
  SEQ_CLS: MistralForSequenceClassification,
  CAUSAL_LM: MistralForCausalLM,
}
