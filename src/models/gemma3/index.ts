/** @file The text model of Gemma 3 (arXiv 2503.19786): Gemma 2 with normalised heads and other angles in sliding layers. */
import type { Tensor } from '../../graph/index.ts'
import type { RMSNorm } from '../../nn/index.ts'
import type { Gemma3Config } from '../config.ts'
import type { DecoderAttention, Projections } from '../decoder/attention.ts'
import type { DecoderLayer } from '../decoder/index.ts'
import { GemmaRMSNorm } from '../gemma/layer.ts'
import { Gemma2ForCausalLM, Gemma2ForSequenceClassification, Gemma2Model } from '../gemma2/index.ts'
import { Gemma2Attention, Gemma2DecoderLayer } from '../gemma2/layer.ts'
import type { LlamaLayerOptions } from '../llama/layer.ts'
import type { ModelClasses } from '../registry.ts'
import { type RotaryTable, rotaryTable } from '../rope.ts'

/** Gemma 3's attention. */
class Gemma3Attention extends Gemma2Attention {
  q_norm: RMSNorm
  k_norm: RMSNorm

  constructor(config: Gemma3Config, options: LlamaLayerOptions) {
    super(config, options)
    this.q_norm = new GemmaRMSNorm(config.head_dim, { eps: config.rms_norm_eps })
    this.k_norm = new GemmaRMSNorm(config.head_dim, { eps: config.rms_norm_eps })
  }

  protected override project(hidden: Tensor): Projections {
    const { query, key, value } = super.project(hidden)
    return { query: this.q_norm.forward(query), key: this.k_norm.forward(key), value }
  }
}

/** A layer of Gemma 3. */
class Gemma3DecoderLayer extends Gemma2DecoderLayer<Gemma3Config> {
  protected override createAttention(config: Gemma3Config, options: LlamaLayerOptions): DecoderAttention {
    return new Gemma3Attention(config, options)
  }
}

/** The bare decoder. */
export class Gemma3TextModel extends Gemma2Model<Gemma3Config> {
  static override readonly modelType: string = 'gemma3_text'

  protected override createLayer(config: Gemma3Config, index: number): DecoderLayer {
    return new Gemma3DecoderLayer(config, this.layerOptions(config, index))
  }

  protected override rotaryTables(positions: Tensor): (layer: number) => RotaryTable | undefined {
    const { config } = this
    const full = super.rotaryTables(positions)
    const sliding = rotaryTable(positions, {
      parameters: config.sliding_rope_parameters,
      width: config.head_dim,
      maxPositions: config.max_position_embeddings,
    })
    return layer => (config.layer_types[layer] === 'sliding_attention' ? sliding : full(layer))
  }
}

/** Gemma 3 predicting the next token. */
export class Gemma3ForCausalLM extends Gemma2ForCausalLM<Gemma3Config> {
  static override readonly modelType: string = 'gemma3_text'

  protected override createModel(config: Gemma3Config): Gemma3TextModel {
    return new Gemma3TextModel(config)
  }
}

/** Gemma 3 with a classifier over each sequence's last token. */
export class Gemma3TextForSequenceClassification extends Gemma2ForSequenceClassification<Gemma3Config> {
  static override readonly modelType: string = 'gemma3_text'

  protected override createModel(config: Gemma3Config): Gemma3TextModel {
    return new Gemma3TextModel(config)
  }
}

/** Gemma 3's models by task. */
export const GEMMA3_MODELS: ModelClasses = {
  FEATURE_EXTRACTION: Gemma3TextModel,
  SEQ_CLS: Gemma3TextForSequenceClassification,
  CAUSAL_LM: Gemma3ForCausalLM,
}
