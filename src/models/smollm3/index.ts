/** @file SmolLM3: Llama in which some layers know no positions. */
import type { Tensor } from '../../graph/index.ts'
import type { SmolLM3Config } from '../config.ts'
import { LlamaForCausalLM, LlamaForSequenceClassification, LlamaModel } from '../llama/index.ts'
import type { LlamaLayerOptions } from '../llama/layer.ts'
import type { ModelClasses } from '../registry.ts'
import type { RotaryTable } from '../rope.ts'

/** The bare decoder. */
export class SmolLM3Model extends LlamaModel<SmolLM3Config> {
  static override readonly modelType: string = 'smollm3'

  protected override layerOptions(config: SmolLM3Config, index: number): LlamaLayerOptions {
    const slides = config.use_sliding_window && config.layer_types[index] === 'sliding_attention'
    return { ...super.layerOptions(config, index), window: (slides && config.sliding_window) || undefined }
  }

  protected override rotaryTables(positions: Tensor): (layer: number) => RotaryTable | undefined {
    const tables = super.rotaryTables(positions)
    return layer => (this.config.no_rope_layers[layer] ? tables(layer) : undefined)
  }
}

/** SmolLM3 predicting the next token. */
export class SmolLM3ForCausalLM extends LlamaForCausalLM<SmolLM3Config> {
  static override readonly modelType: string = 'smollm3'

  protected override createModel(config: SmolLM3Config): SmolLM3Model {
    return new SmolLM3Model(config)
  }
}

/** SmolLM3 with a classifier over each sequence's last token. */
export class SmolLM3ForSequenceClassification extends LlamaForSequenceClassification<SmolLM3Config> {
  static override readonly modelType: string = 'smollm3'

  protected override createModel(config: SmolLM3Config): SmolLM3Model {
    return new SmolLM3Model(config)
  }
}

/** SmolLM3's models by task. */
export const SMOLLM3_MODELS: ModelClasses = {
  FEATURE_EXTRACTION: SmolLM3Model,
  SEQ_CLS: SmolLM3ForSequenceClassification,
  CAUSAL_LM: SmolLM3ForCausalLM,
}
