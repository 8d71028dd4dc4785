/** @file An encoder that fills in masked tokens. */
import { crossEntropy, reshape, type Tensor } from '../../graph/index.ts'
import type { ModelInputs, ModelOutput, ModelTask } from '../inputs.ts'
import type { TextConfig } from '../pretrained-model.ts'
import { EncoderWithHead } from './pretrained.ts'

/** An encoder with scores over the vocabulary for each token. */
export abstract class EncoderForMaskedLM<C extends TextConfig> extends EncoderWithHead<C> {
  /** @param rows hidden states, `[rows, hidden]` @returns `[rows, vocabulary]` */
  protected abstract predict(rows: Tensor): Tensor

  get task(): ModelTask {
    return 'MASKED_LM'
  }

  forward(inputs: ModelInputs): ModelOutput {
    const { labels } = inputs
    const output = this.baseModel.forward(inputs)
    const [batch, sequence, width] = output.last_hidden_state!.shape
    // One matrix of rows, so that the product over the vocabulary and the loss can be differentiated as one.
    const rows = this.predict(reshape(output.last_hidden_state!, [-1, width]))
    const logits = reshape(rows, [batch, sequence, rows.shape[1]])
    return { ...output, logits, ...(labels && { loss: crossEntropy(rows, reshape(labels, [-1])) }) }
  }
}
