/** @file Phi (arXiv 2309.05463): parallel sublayers, and a part of each head turned. */
import { Dropout, Embedding, LayerNorm, type Module, ModuleList } from '../../nn/index.ts'
import type { PhiConfig } from '../config.ts'
import {
  DecoderForCausalLM,
  DecoderForSequenceClassification,
  DecoderPreTrainedModel,
  runLayers,
} from '../decoder/index.ts'
import { embeddingInit } from '../init.ts'
import { embedTokens, type ModelInputs, type ModelOutput, type ModelTask, positionsOf } from '../inputs.ts'
import type { ModelClasses } from '../registry.ts'
import { rotaryTable } from '../rope.ts'
import { PhiDecoderLayer } from './layer.ts'

/** The bare decoder. */
export class PhiModel extends DecoderPreTrainedModel<PhiConfig> {
  static override readonly modelType: string = 'phi'

  embed_tokens: Embedding
  layers: ModuleList<PhiDecoderLayer>
  embed_dropout: Dropout
  final_layernorm: LayerNorm

  constructor(config: PhiConfig) {
    super(config)
    this.embed_tokens = new Embedding(config.vocab_size, config.hidden_size, {
      init: embeddingInit(config.initializer_range, config.pad_token_id),
      paddingIndex: config.pad_token_id,
    })
    this.layers = new ModuleList(Array.from({ length: config.num_hidden_layers }, () => new PhiDecoderLayer(config)))
    this.embed_dropout = new Dropout(config.embd_pdrop)
    this.final_layernorm = new LayerNorm(config.hidden_size, { eps: config.layer_norm_eps })
  }

  get task(): ModelTask {
    return 'FEATURE_EXTRACTION'
  }

  getInputEmbeddings(): Module {
    return this.embed_tokens
  }

  forward(inputs: ModelInputs): ModelOutput {
    const { config } = this
    const hidden = embedTokens(this.embed_tokens, inputs)
    const table = rotaryTable(positionsOf(inputs, hidden.shape[1]), {
      parameters: config.rope_parameters,
      width: config.hidden_size / config.num_attention_heads,
      maxPositions: config.max_position_embeddings,
      partial: true,
    })
    const states = runLayers(this.layers, this.embed_dropout.forward(hidden), inputs, { rotary: () => table })
    const last = this.final_layernorm.forward(states.at(-1)!)
    return { last_hidden_state: last, hidden_states: [...states.slice(0, -1), last] }
  }
}

/** Phi predicting the next token. */
export class PhiForCausalLM extends DecoderForCausalLM<PhiConfig> {
  static override readonly modelType: string = 'phi'

  protected override get headBias(): boolean {
    return true
  }

  protected override createModel(config: PhiConfig): PhiModel {
    return new PhiModel(config)
  }
}

/** Phi with a classifier over each sequence's last token. */
export class PhiForSequenceClassification extends DecoderForSequenceClassification<PhiConfig> {
  static override readonly modelType: string = 'phi'

  protected override createModel(config: PhiConfig): PhiModel {
    return new PhiModel(config)
  }
}

/** Phi's models by task. */
export const PHI_MODELS: ModelClasses = {
  FEATURE_EXTRACTION: PhiModel,
  SEQ_CLS: PhiForSequenceClassification,
  CAUSAL_LM: PhiForCausalLM,
}
