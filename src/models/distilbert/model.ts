/** @file DistilBERT (arXiv 1910.01108): half of BERT's layers, without segments and without a pooler. */
import { add, type Tensor } from '../../graph/index.ts'
import { Dropout, Embedding, LayerNorm, Module, ModuleList, paddingMask } from '../../nn/index.ts'
import type { DistilBertConfig } from '../config.ts'
import { EncoderPreTrainedModel } from '../encoder/index.ts'
import { embeddingInit } from '../init.ts'
import {
  checkPositions,
  defaultPositions,
  embedTokens,
  graphOfInputs,
  type ModelInputs,
  type ModelOutput,
  type ModelTask,
} from '../inputs.ts'
import { DISTILBERT_EPSILON, DistilBertLayer } from './layer.ts'

/** DistilBERT's first layer: tokens and positions, added and normalised. */
export class DistilBertEmbeddings extends Module {
  word_embeddings: Embedding
  position_embeddings: Embedding
  LayerNorm: LayerNorm
  dropout: Dropout

  constructor(config: DistilBertConfig) {
    super()
    const { dim, initializer_range } = config
    this.word_embeddings = new Embedding(config.vocab_size, dim, {
      init: embeddingInit(initializer_range, config.pad_token_id),
      paddingIndex: config.pad_token_id,
    })
    this.position_embeddings = new Embedding(config.max_position_embeddings, dim, {
      init: embeddingInit(initializer_range),
    })
    this.LayerNorm = new LayerNorm(dim, { eps: DISTILBERT_EPSILON })
    this.dropout = new Dropout(config.dropout)
  }

  /** @returns `[batch, sequence, hidden]` */
  forward(inputs: ModelInputs): Tensor {
    const words = embedTokens(this.word_embeddings, inputs)
    const past = inputs.cache?.length ?? 0
    checkPositions(past, words.shape[1], this.position_embeddings.numEmbeddings)
    const positions = inputs.position_ids ?? defaultPositions(graphOfInputs(inputs), past, words.shape[1])
    return this.dropout.forward(this.LayerNorm.forward(add(words, this.position_embeddings.forward(positions))))
  }
}

/** DistilBERT's layers in a row. */
export class DistilBertTransformer extends Module {
  layer: ModuleList<DistilBertLayer>

  constructor(config: DistilBertConfig) {
    super()
    this.layer = new ModuleList(Array.from({ length: config.n_layers }, () => new DistilBertLayer(config)))
  }

  /** @returns the input, then each layer's output */
  forward(hidden: Tensor, { attention_mask, cache }: ModelInputs): Tensor[] {
    const mask = attention_mask && paddingMask(attention_mask)
    const states = [hidden]
    for (const layer of this.layer)
      states.push(layer.forward(states.at(-1)!, { layer: states.length - 1, mask, cache }))
    return states
  }
}

/** The bare encoder. */
export class DistilBertModel extends EncoderPreTrainedModel<DistilBertConfig> {
  static override readonly modelType: string = 'distilbert'

  embeddings: DistilBertEmbeddings
  transformer: DistilBertTransformer

  constructor(config: DistilBertConfig) {
    super(config)
    this.embeddings = new DistilBertEmbeddings(config)
    this.transformer = new DistilBertTransformer(config)
  }

  get task(): ModelTask {
    return 'FEATURE_EXTRACTION'
  }

  getInputEmbeddings(): Module {
    return this.embeddings.word_embeddings
  }

  forward(inputs: ModelInputs): ModelOutput {
    const states = this.transformer.forward(this.embeddings.forward(inputs), inputs)
    return { last_hidden_state: states.at(-1)!, hidden_states: states }
  }
}
