/** @file OPT (arXiv 2205.01068): a decoder with learned positions, which are counted without the padding. */
import { add, cumulativeSum, type Dim, mul, slice, sub, type Tensor } from '../../graph/index.ts'
import { Embedding, LayerNorm, type Linear, Module, ModuleList } from '../../nn/index.ts'
import type { OPTConfig } from '../config.ts'
import {
  DecoderForCausalLM,
  DecoderForSequenceClassification,
  DecoderPreTrainedModel,
  runLayers,
} from '../decoder/index.ts'
import { createLinear, embeddingInit } from '../init.ts'
import {
  checkPositions,
  embedTokens,
  type InputSpec,
  type ModelInputs,
  type ModelOutput,
  type ModelTask,
  positionsOf,
} from '../inputs.ts'
import { OPTDecoderLayer } from './layer.ts'

/** The rows of the table of positions that stand in front of the first position. */
const OFFSET = 2

/** OPT's layers with everything around them; the checkpoint's names have it between model and layers. */
export class OPTDecoder extends Module {
  embed_tokens: Embedding
  embed_positions: Embedding
  project_out: Linear | undefined
  project_in: Linear | undefined
  final_layer_norm: LayerNorm | undefined
  layers: ModuleList<OPTDecoderLayer>

  constructor(config: OPTConfig) {
    super()
    const { hidden_size: width, word_embed_proj_dim: narrow, init_std } = config
    this.embed_tokens = new Embedding(config.vocab_size, narrow, {
      init: embeddingInit(init_std, config.pad_token_id),
      paddingIndex: config.pad_token_id,
    })
    const init = embeddingInit(init_std)
    this.embed_positions = new Embedding(config.max_position_embeddings + OFFSET, width, { init })
    this.project_out = narrow === width ? undefined : createLinear(width, narrow, init_std, false)
    this.project_in = narrow === width ? undefined : createLinear(narrow, width, init_std, false)
    this.final_layer_norm = config.has_final_layer_norm ? new LayerNorm(width) : undefined
    this.layers = new ModuleList(Array.from({ length: config.num_hidden_layers }, () => new OPTDecoderLayer(config)))
  }

  forward(inputs: ModelInputs): ModelOutput {
    const tokens = embedTokens(this.embed_tokens, inputs)
    const past = inputs.cache?.length ?? 0
    checkPositions(past, tokens.shape[1], this.embed_positions.numEmbeddings - OFFSET)
    const places = this.embed_positions.forward(add(maskedPositions(inputs, past, tokens.shape[1]), OFFSET))
    const states = runLayers(this.layers, add(this.project_in?.forward(tokens) ?? tokens, places), inputs)
    const top = states.at(-1)!
    const normal = this.final_layer_norm?.forward(top) ?? top
    const last = this.project_out?.forward(normal) ?? normal
    return { last_hidden_state: last, hidden_states: [...states.slice(0, -1), last] }
  }
}

/** Positions counted over the tokens alone; padding gets -1. */
function maskedPositions(inputs: ModelInputs, past: Dim, sequence: Dim): Tensor {
  const { attention_mask: mask, position_ids } = inputs
  if (position_ids || !mask) return positionsOf(inputs, sequence)
  return slice(sub(mul(cumulativeSum(mask, 1), mask), 1), 1, past, mask.shape[1])
}

/** The inputs, with embeddings of the width that the tokens have. */
function withEmbeddingWidth(specs: Record<string, InputSpec>, { word_embed_proj_dim }: OPTConfig) {
  return { ...specs, inputs_embeds: { ...specs.inputs_embeds, shape: ['batch', 'sequence', word_embed_proj_dim] } }
}

/** The bare decoder. */
export class OPTModel extends DecoderPreTrainedModel<OPTConfig> {
  static override readonly modelType: string = 'opt'

  decoder: OPTDecoder

  constructor(config: OPTConfig) {
    super(config)
    this.decoder = new OPTDecoder(config)
  }

  get task(): ModelTask {
    return 'FEATURE_EXTRACTION'
  }

  getInputEmbeddings(): Module {
    return this.decoder.embed_tokens
  }

  override inputSpecs(): Record<string, InputSpec> {
    return withEmbeddingWidth(super.inputSpecs(), this.config)
  }

  forward(inputs: ModelInputs): ModelOutput {
    return this.decoder.forward(inputs)
  }
}

/** OPT predicting the next token. */
export class OPTForCausalLM extends DecoderForCausalLM<OPTConfig> {
  static override readonly modelType: string = 'opt'

  protected override createModel(config: OPTConfig): OPTModel {
    return new OPTModel(config)
  }

  protected override outputWidth(config: OPTConfig): number {
    return config.word_embed_proj_dim
  }

  override inputSpecs(): Record<string, InputSpec> {
    return withEmbeddingWidth(super.inputSpecs(), this.config)
  }
}

/** OPT with a classifier over each sequence's last token. */
export class OPTForSequenceClassification extends DecoderForSequenceClassification<OPTConfig> {
  static override readonly modelType: string = 'opt'

  protected override createModel(config: OPTConfig): OPTModel {
    return new OPTModel(config)
  }

  protected override outputWidth(config: OPTConfig): number {
    return config.word_embed_proj_dim
  }

  override inputSpecs(): Record<string, InputSpec> {
    return withEmbeddingWidth(super.inputSpecs(), this.config)
  }
}
