/** @file BART's embeddings: tokens, with a factor where the configuration says so, and learned positions. */
import { add, mul, type Tensor } from '../../graph/index.ts'
import { Embedding } from '../../nn/index.ts'
import type { BartConfig } from '../config.ts'
import { embeddingInit } from '../init.ts'

/** Positions begin at this row of their table. */
const OFFSET = 2

/** The table of tokens, whose rows are multiplied as they are read. */
export class BartScaledWordEmbedding extends Embedding {
  readonly scale: number

  constructor(config: BartConfig) {
    const { d_model: width, init_std, pad_token_id, vocab_size } = config
    super(vocab_size, width, { init: embeddingInit(init_std, pad_token_id) })
    this.scale = config.scale_embedding ? Math.sqrt(width) : 1
  }

  override forward(ids: Tensor): Tensor {
    const rows = super.forward(ids)
    return this.scale === 1 ? rows : mul(rows, this.scale)
  }
}

/** The table of positions. */
export class BartLearnedPositionalEmbedding extends Embedding {
  constructor(config: BartConfig) {
    super(config.max_position_embeddings + OFFSET, config.d_model, { init: embeddingInit(config.init_std) })
  }

  /** @param positions int64, from 0 on */
  override forward(positions: Tensor): Tensor {
    return super.forward(add(positions, OFFSET))
  }
}
