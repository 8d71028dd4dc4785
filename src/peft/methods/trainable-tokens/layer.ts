/** @file The layer of trainable tokens: rows of a table, under the names that PEFT gives them. */
import { ParameterDict } from '../../../nn/index.ts'
import { TokenLayer } from '../../token-adapter.ts'

/** A table of tokens some of whose rows train. */
export class TrainableTokensLayer extends TokenLayer {
  /** `[tokens, width]` for each adapter. */
  trainable_tokens_delta = new ParameterDict()

  override get rows(): ParameterDict {
    return this.trainable_tokens_delta
  }
}
