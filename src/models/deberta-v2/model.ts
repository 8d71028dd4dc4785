/** @file DeBERTa-v2 (arXiv 2006.03654) and v3 (arXiv 2111.09543): the encoder. */
import { add, cast, logicalAnd, mul, range, slice, type Tensor, unsqueeze } from '../../graph/index.ts'
import { additiveMask, Dropout, Embedding, LayerNorm, type Linear, Module, ModuleList } from '../../nn/index.ts'
import type { DebertaV2Config } from '../config.ts'
import { EncoderPreTrainedModel } from '../encoder/index.ts'
import { createLinear, embeddingInit } from '../init.ts'
import {
  checkPositions,
  embedTokens,
  type ModelInputs,
  type ModelOutput,
  type ModelTask,
  positionsOf,
} from '../inputs.ts'
import { ConvLayer, DebertaV2Layer } from './layer.ts'
import { distanceOptions, distanceSpan, RelativePositions } from './relative-position.ts'

/** The mask of the tokens of this pass, without those of the cache: int64 `[batch, sequence]`. */
function ownMask({ attention_mask, cache }: ModelInputs): Tensor | undefined {
  if (!attention_mask || !cache?.length) return attention_mask
  const total = attention_mask.shape[1]
  return slice(attention_mask, 1, cache.length, total)
}

/**
 * Hides keys that are padding, and from padding everything: additive, `[batch, 1, queries, keys]`. The states of padding
 * reach losses over whole texts, such as that of an answer's span.
 */
function pairMask(inputs: ModelInputs): Tensor | undefined {
  const [keys, queries] = [inputs.attention_mask, ownMask(inputs)]
  if (!keys || !queries) return undefined
  return additiveMask(logicalAnd(unsqueeze(cast(keys, 'bool'), [1, 2]), unsqueeze(cast(queries, 'bool'), [1, 3])))
}

/** The first layer: tokens, and positions and segments where the configuration says so. */
export class DebertaV2Embeddings extends Module {
  word_embeddings: Embedding
  position_embeddings: Embedding | undefined
  token_type_embeddings: Embedding | undefined
  /** To the width of the layers, where the embeddings have another. */
  embed_proj: Linear | undefined
  LayerNorm: LayerNorm
  dropout: Dropout

  constructor(config: DebertaV2Config) {
    super()
    const { embedding_size: width, hidden_size, initializer_range: range, pad_token_id } = config
    const init = embeddingInit(range)
    this.word_embeddings = new Embedding(config.vocab_size, width, {
      init: embeddingInit(range, pad_token_id),
      paddingIndex: pad_token_id,
    })
    this.position_embeddings = config.position_biased_input
      ? new Embedding(config.max_position_embeddings, width, { init })
      : undefined
    this.token_type_embeddings = config.type_vocab_size
      ? new Embedding(config.type_vocab_size, width, { init })
      : undefined
    this.embed_proj = width === hidden_size ? undefined : createLinear(width, hidden_size, range, false)
    this.LayerNorm = new LayerNorm(hidden_size, { eps: config.layer_norm_eps })
    this.dropout = new Dropout(config.hidden_dropout_prob)
  }

  /** @returns `[batch, sequence, hidden]`, zero where padding stands */
  forward(inputs: ModelInputs): Tensor {
    let embedded = embedTokens(this.word_embeddings, inputs)
    const sequence = embedded.shape[1]
    if (this.position_embeddings) {
      checkPositions(inputs.cache?.length ?? 0, sequence, this.position_embeddings.numEmbeddings)
      embedded = add(embedded, this.position_embeddings.forward(positionsOf(inputs, sequence)))
    }
    if (this.token_type_embeddings) {
      const segments = inputs.token_type_ids ?? embedded.graph.constant([0], 'int64', [1, 1])
      embedded = add(embedded, this.token_type_embeddings.forward(segments))
    }
    const normed = this.LayerNorm.forward(this.embed_proj?.forward(embedded) ?? embedded)
    const mask = ownMask(inputs)
    return this.dropout.forward(mask ? mul(normed, unsqueeze(cast(mask, 'float32'), [2])) : normed)
  }
}

/** DeBERTa's layers in a row, and the embeddings of distances that all of them read. */
export class DebertaV2Encoder extends Module {
  readonly config: DebertaV2Config
  layer: ModuleList<DebertaV2Layer>
  rel_embeddings: Embedding | undefined
  LayerNorm: LayerNorm | undefined
  conv: ConvLayer | undefined

  constructor(config: DebertaV2Config) {
    super()
    const { hidden_size: width, layer_norm_eps: eps, norm_rel_ebd } = config
    this.config = config
    this.layer = new ModuleList(Array.from({ length: config.num_hidden_layers }, () => new DebertaV2Layer(config)))
    const init = embeddingInit(config.initializer_range)
    const rows = 2 * distanceSpan(distanceOptions(config))
    this.rel_embeddings = config.relative_attention ? new Embedding(rows, width, { init }) : undefined
    const normed = norm_rel_ebd
      .toLowerCase()
      .split('|')
      .some(part => part.trim() === 'layer_norm')
    this.LayerNorm = normed ? new LayerNorm(width, { eps }) : undefined
    this.conv = config.conv_kernel_size > 0 ? new ConvLayer(config) : undefined
  }

  /** @returns the input, then each layer's output */
  forward(embedded: Tensor, inputs: ModelInputs): Tensor[] {
    const { cache } = inputs
    const mask = pairMask(inputs)
    const own = ownMask(inputs)
    const tokens = own && unsqueeze(cast(own, 'float32'), [1, 3])
    const relative = this.distances(embedded, inputs)
    const states = [embedded]
    for (const layer of this.layer) {
      const index = states.length - 1
      const state = layer.forward(states[index], { layer: index, mask, cache, relative, tokens })
      states.push(index === 0 && this.conv ? this.conv.forward(embedded, state, own) : state)
    }
    return states
  }

  private distances({ graph, shape }: Tensor, { cache }: ModelInputs) {
    if (!this.rel_embeddings) return undefined
    const rows = this.rel_embeddings.forward(range(graph, this.rel_embeddings.numEmbeddings))
    return {
      embeddings: this.LayerNorm?.forward(rows) ?? rows,
      positions: new RelativePositions(graph, shape[1], cache?.length ?? 0, distanceOptions(this.config)),
    }
  }
}

/** The bare encoder. */
export class DebertaV2Model extends EncoderPreTrainedModel<DebertaV2Config> {
  static override readonly modelType: string = 'deberta-v2'

  embeddings: DebertaV2Embeddings
  encoder: DebertaV2Encoder

  constructor(config: DebertaV2Config) {
    super(config)
    this.embeddings = new DebertaV2Embeddings(config)
    this.encoder = new DebertaV2Encoder(config)
  }

  override get baseModelPrefix(): string {
    return 'deberta'
  }

  override get ignoredTensors(): readonly RegExp[] {
    return ignoredTensors(this.config, super.ignoredTensors)
  }

  get task(): ModelTask {
    return 'FEATURE_EXTRACTION'
  }

  getInputEmbeddings(): Module {
    return this.embeddings.word_embeddings
  }

  forward(inputs: ModelInputs): ModelOutput {
    const states = this.encoder.forward(this.embeddings.forward(inputs), inputs)
    return { last_hidden_state: states.at(-1)!, hidden_states: states }
  }
}

/** Published checkpoints hold the head of their pretraining, and positions that the model may not read. */
export function ignoredTensors(config: DebertaV2Config, others: readonly RegExp[]): readonly RegExp[] {
  const unread = config.position_biased_input ? [] : [/(^|\.)position_embeddings\.weight$/]
  return [...others, /^mask_predictions\./, ...unread]
}
