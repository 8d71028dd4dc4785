/** @file Phi-3 and Phi-4 (arXiv 2404.14219): Llama with fused projections and LongRoPE. */
import type { Tensor } from '../../graph/index.ts'
import type { Phi3Config } from '../config.ts'
import type { DecoderLayer } from '../decoder/index.ts'
import { LlamaForCausalLM, LlamaForSequenceClassification, LlamaModel } from '../llama/index.ts'
import type { ModelClasses } from '../registry.ts'
import { type RotaryTable, rotaryTable } from '../rope.ts'
import { Phi3DecoderLayer } from './layer.ts'

/** The bare decoder. */
export class Phi3Model extends LlamaModel<Phi3Config> {
  static override readonly modelType: string = 'phi3'

  protected override createLayer(config: Phi3Config): DecoderLayer {
    const window = config.sliding_window ?? undefined
    return new Phi3DecoderLayer(config, { inputBias: false, outputBias: false, mlpBias: false, window })
  }

  protected override rotaryTables(positions: Tensor): (layer: number) => RotaryTable | undefined {
    const { rope_parameters: parameters, head_dim: width, max_position_embeddings: maxPositions } = this.config
    const table = rotaryTable(positions, { parameters, width, maxPositions, partial: true })
    return () => table
  }
}

/** Phi-3 predicting the next token. */
export class Phi3ForCausalLM extends LlamaForCausalLM<Phi3Config> {
  static override readonly modelType: string = 'phi3'

  protected override createModel(config: Phi3Config): Phi3Model {
    return new Phi3Model(config)
  }
}

/** Phi-3 with a classifier over each sequence's last token. */
export class Phi3ForSequenceClassification extends LlamaForSequenceClassification<Phi3Config> {
  static override readonly modelType: string = 'phi3'

  protected override createModel(config: Phi3Config): Phi3Model {
    return new Phi3Model(config)
  }
}

/** Phi-3's models by task. */
export const PHI3_MODELS: ModelClasses = {
  FEATURE_EXTRACTION: Phi3Model,
  SEQ_CLS: Phi3ForSequenceClassification,
  CAUSAL_LM: Phi3ForCausalLM,
}
