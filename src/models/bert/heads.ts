/** @file BERT with a head: the class of a sequence, the class of each token, the span of an answer. */
import { Dropout, type Linear } from '../../nn/index.ts'
import type { BertConfig, BertFamilyConfig } from '../config.ts'
import {
  classifierDropout,
  EncoderForQuestionAnswering,
  EncoderForTokenClassification,
  EncoderWithHead,
} from '../encoder/index.ts'
import { createLinear } from '../init.ts'
import type { ModelInputs, ModelOutput, ModelTask } from '../inputs.ts'
import { classificationLoss } from '../sequence-classification.ts'
import { BertModel } from './model.ts'

/** BERT with a dense layer over the pooled first token. */
export class BertForSequenceClassification extends EncoderWithHead<BertConfig> {
  static override readonly modelType: string = 'bert'

  dropout: Dropout
  classifier: Linear

  constructor(config: BertConfig) {
    super(config)
    this.dropout = new Dropout(classifierDropout(config))
    this.classifier = createLinear(config.hidden_size, config.num_labels, config.initializer_range)
  }

  protected override createEncoder(config: BertConfig): BertModel {
    return new BertModel(config)
  }

  protected override get readsPooler(): boolean {
    return true
  }

  get task(): ModelTask {
    return 'SEQ_CLS'
  }

  forward(inputs: ModelInputs): ModelOutput {
    const output = this.baseModel.forward(inputs)
    const logits = this.classifier.forward(this.dropout.forward(output.pooler_output!))
    return { ...output, logits, loss: classificationLoss(logits, inputs.labels, this.config) }
  }
}

/** BERT with a dense layer over each token. */
export class BertForTokenClassification<
  C extends BertFamilyConfig = BertConfig,
> extends EncoderForTokenClassification<C> {
  static override readonly modelType: string = 'bert'

  protected override createEncoder(config: C): BertModel<C> {
    return new BertModel(config, { pooler: false })
  }

  protected override headDropout(config: C): number {
    return classifierDropout(config)
  }
}

/** BERT finding the span of a text which answers a question. */
export class BertForQuestionAnswering<C extends BertFamilyConfig = BertConfig> extends EncoderForQuestionAnswering<C> {
  static override readonly modelType: string = 'bert'

  protected override createEncoder(config: C): BertModel<C> {
    return new BertModel(config, { pooler: false })
  }
}
