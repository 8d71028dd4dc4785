/** @file CLIP's tower of texts: each token sees those before it, and the token that ends the text stands for it. */
import { add, argMax, cast, dimValue, equal, gather, mul, range, reshape, type Tensor } from '../../graph/index.ts'
import { causalMask, Embedding, LayerNorm, type Linear, Module, normalInit } from '../../nn/index.ts'
import type { CLIPTextConfig } from '../config.ts'
import { createLinear } from '../init.ts'
import {
  checkPositions,
  embedTokens,
  type ModelInputs,
  type ModelOutput,
  type ModelTask,
  positionsOf,
} from '../inputs.ts'
import { PreTrainedModel } from '../pretrained-model.ts'
import { CLIPEncoder } from './layer.ts'

/** The number that the first configurations gave to the token which ends a text, whatever it was. */
const UNKNOWN_END = 2

/** The first layer: tokens and learned positions. */
export class CLIPTextEmbeddings extends Module {
  token_embedding: Embedding
  position_embedding: Embedding

  constructor({ vocab_size, max_position_embeddings, hidden_size, initializer_factor }: CLIPTextConfig) {
    super()
    const init = normalInit(0.02 * initializer_factor)
    this.token_embedding = new Embedding(vocab_size, hidden_size, { init })
    this.position_embedding = new Embedding(max_position_embeddings, hidden_size, { init })
  }

  /** @returns `[batch, sequence, hidden]` */
  forward(inputs: ModelInputs): Tensor {
    const tokens = embedTokens(this.token_embedding, inputs)
    const sequence = tokens.shape[1]
    checkPositions(inputs.cache?.length ?? 0, sequence, this.position_embedding.numEmbeddings)
    return add(tokens, this.position_embedding.forward(positionsOf(inputs, sequence)))
  }
}

/** The tower of texts. Its pooled output is the state of the token that ends each text, where tokens are given. */
export class CLIPTextModel extends PreTrainedModel<CLIPTextConfig> {
  static override readonly modelType: string = 'clip_text_model'

  embeddings: CLIPTextEmbeddings
  encoder: CLIPEncoder
  final_layer_norm: LayerNorm

  constructor(config: CLIPTextConfig) {
    super(config)
    this.embeddings = new CLIPTextEmbeddings(config)
    this.encoder = new CLIPEncoder(config)
    this.final_layer_norm = new LayerNorm(config.hidden_size, { eps: config.layer_norm_eps })
  }

  get baseModelPrefix(): string {
    return 'text_model'
  }

  /** Positions that old checkpoints list, and what a checkpoint of a whole CLIP holds beside this tower. */
  get ignoredTensors(): readonly RegExp[] {
    return [/(^|\.)embeddings\.position_ids$/, /^(vision_model\.|visual_projection\.|text_projection\.|logit_scale$)/]
  }

  get task(): ModelTask {
    return 'FEATURE_EXTRACTION'
  }

  getInputEmbeddings(): Module {
    return this.embeddings.token_embedding
  }

  forward(inputs: ModelInputs): ModelOutput {
    const { attention_mask, cache, input_ids } = inputs
    const embedded = this.embeddings.forward(inputs)
    const mask = causalMask(embedded.graph, embedded.shape[1], cache?.length ?? 0, attention_mask)
    const states = this.encoder.forward(embedded, { mask, cache })
    const last = this.final_layer_norm.forward(states.at(-1)!)
    const pooler_output = input_ids && this.endOfText(last, input_ids)
    return { last_hidden_state: last, pooler_output, hidden_states: states }
  }

  /** The state of each text's first end token, `[batch, hidden]`. */
  private endOfText(hidden: Tensor, ids: Tensor): Tensor {
    const { graph } = hidden
    const [batch, sequence, width] = hidden.shape
    const ends = [this.config.eos_token_id ?? UNKNOWN_END].flat()
    // In the vocabulary of the first publications the end of a text is the highest number.
    const marks = ends[0] === UNKNOWN_END ? ids : equal(ids, ends[0])
    const position = argMax(cast(marks, 'float32'), 1)
    const rows = add(mul(range(graph, batch), dimValue(graph, sequence)), position)
    return gather(reshape(hidden, [-1, width]), rows, 0)
  }
}

/** The tower of texts with the projection to what texts and images are compared by. */
export class CLIPTextModelWithProjection extends PreTrainedModel<CLIPTextConfig> {
  static override readonly modelType: string = 'clip_text_model'

  text_model: CLIPTextModel
  text_projection: Linear

  constructor(config: CLIPTextConfig) {
    super(config)
    const { hidden_size, initializer_factor, projection_dim } = config
    this.text_model = new CLIPTextModel(config)
    this.text_projection = createLinear(hidden_size, projection_dim, initializer_factor / Math.sqrt(hidden_size), false)
  }

  get baseModelPrefix(): string {
    return 'text_model'
  }

  get ignoredTensors(): readonly RegExp[] {
    return [/(^|\.)embeddings\.position_ids$/, /^(vision_model\.|visual_projection\.|logit_scale$)/]
  }

  get task(): ModelTask {
    return 'FEATURE_EXTRACTION'
  }

  getInputEmbeddings(): Module {
    return this.text_model.getInputEmbeddings()
  }

  forward(inputs: ModelInputs): ModelOutput {
    const output = this.text_model.forward(inputs)
    const pooled = output.pooler_output
    return { ...output, text_embeds: pooled && this.text_projection.forward(pooled) }
  }
}
