/** @file RoBERTa's embeddings: BERT's, with positions that are counted from behind the padding token's number. */
import {
  add,
  cast,
  cumulativeSum,
  type Dim,
  dimValue,
  equal,
  type Graph,
  logicalNot,
  mul,
  type Tensor,
} from '../../graph/index.ts'
import { Embedding } from '../../nn/index.ts'
import { BertEmbeddings } from '../bert/embeddings.ts'
import type { RobertaFamilyConfig } from '../config.ts'
import { embeddingInit } from '../init.ts'
import { checkPositions, defaultPositions, type ModelInputs } from '../inputs.ts'

/** The first layer of RoBERTa. */
export class RobertaEmbeddings extends BertEmbeddings {
  readonly paddingIndex: number

  constructor(config: RobertaFamilyConfig) {
    super(config)
    this.paddingIndex = config.pad_token_id
    this.position_embeddings = new Embedding(config.max_position_embeddings, config.hidden_size, {
      init: embeddingInit(config.initializer_range, config.pad_token_id),
      paddingIndex: config.pad_token_id,
    })
  }

  /** Tokens are counted, padding is not; embeddings that were given are taken for tokens, all of them. */
  protected override positions(graph: Graph, { input_ids }: ModelInputs, past: Dim, sequence: Dim): Tensor {
    checkPositions(past, sequence, this.position_embeddings.numEmbeddings - this.paddingIndex - 1)
    if (!input_ids) return add(defaultPositions(graph, past, sequence), this.paddingIndex + 1)
    const isToken = cast(logicalNot(equal(input_ids, this.paddingIndex)), 'int64')
    const count = add(cumulativeSum(isToken, 1), dimValue(graph, past))
    return add(mul(count, isToken), this.paddingIndex)
  }
}
