/** @file An encoder with a classifier of each token. */
import { crossEntropy } from '../../graph/index.ts'
import { Dropout, type Linear } from '../../nn/index.ts'
import { createLinear } from '../init.ts'
import type { ModelInputs, ModelOutput, ModelTask } from '../inputs.ts'
import type { ModelConfig } from '../pretrained-model.ts'
import { EncoderWithHead } from './pretrained.ts'

/** An encoder with a dense layer over each token. */
export abstract class EncoderForTokenClassification<C extends ModelConfig> extends EncoderWithHead<C> {
  dropout: Dropout
  classifier: Linear

  constructor(config: C) {
    super(config)
    this.dropout = new Dropout(this.headDropout(config))
    this.classifier = createLinear(config.hidden_size, config.num_labels, config.initializer_range)
  }

  /** The dropout before the classifier. */
  protected abstract headDropout(config: C): number

  get task(): ModelTask {
    return 'TOKEN_CLS'
  }

  forward(inputs: ModelInputs): ModelOutput {
    const output = this.baseModel.forward(inputs)
    const logits = this.classifier.forward(this.dropout.forward(output.last_hidden_state!))
    return { ...output, logits, ...(inputs.labels && { loss: crossEntropy(logits, inputs.labels) }) }
  }
}
