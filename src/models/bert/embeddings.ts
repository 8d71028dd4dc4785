/** @file BERT's embeddings: token, segment and learned position, added and normalised. */
import { add, type Dim, type Graph, type Tensor } from '../../graph/index.ts'
import { Dropout, Embedding, LayerNorm, Module } from '../../nn/index.ts'
import type { BertFamilyConfig } from '../config.ts'
import { embeddingInit } from '../init.ts'
import { checkPositions, defaultPositions, embedTokens, graphOfInputs, type ModelInputs } from '../inputs.ts'

/** The first layer of BERT. */
export class BertEmbeddings extends Module {
  word_embeddings: Embedding
  position_embeddings: Embedding
  token_type_embeddings: Embedding
  LayerNorm: LayerNorm
  dropout: Dropout

  /** @param width the width of the embeddings, where it is not that of the layers */
  constructor(config: BertFamilyConfig, width: number = config.hidden_size) {
    super()
    const { initializer_range } = config
    const init = embeddingInit(initializer_range)
    this.word_embeddings = new Embedding(config.vocab_size, width, {
      init: embeddingInit(initializer_range, config.pad_token_id),
      paddingIndex: config.pad_token_id,
    })
    this.position_embeddings = new Embedding(config.max_position_embeddings, width, { init })
    this.token_type_embeddings = new Embedding(config.type_vocab_size, width, { init })
    this.LayerNorm = new LayerNorm(width, { eps: config.layer_norm_eps })
    this.dropout = new Dropout(config.hidden_dropout_prob)
  }

  /** @returns `[batch, sequence, hidden]` */
  forward(inputs: ModelInputs, past: Dim): Tensor {
    const graph = graphOfInputs(inputs)
    const words = embedTokens(this.word_embeddings, inputs)
    const segments = inputs.token_type_ids ?? graph.constant([0], 'int64', [1, 1])
    const positions = inputs.position_ids ?? this.positions(graph, inputs, past, words.shape[1])
    // The two small ones first, so that only one addition has the size of the batch.
    const place = add(this.token_type_embeddings.forward(segments), this.position_embeddings.forward(positions))
    return this.dropout.forward(this.LayerNorm.forward(add(words, place)))
  }
  /** The positions of tokens that were given none, int64 `[batch or 1, sequence]`. */
  protected positions(graph: Graph, _inputs: ModelInputs, past: Dim, sequence: Dim): Tensor {
    checkPositions(past, sequence, this.position_embeddings.numEmbeddings)
    return defaultPositions(graph, past, sequence)
  }
}
