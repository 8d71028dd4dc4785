/** @file BERT with a classifier of sequences. */
import { Dropout, type Linear, type Module } from '../../nn/index.ts'
import type { BertConfig } from '../config.ts'
import { createLinear } from '../init.ts'
import type { ModelInputs, ModelOutput, ModelTask } from '../inputs.ts'
import { classificationLoss } from '../sequence-classification.ts'
import { BertModel, BertPreTrainedModel } from './model.ts'

/** BERT with a dense layer over the pooled first token. */
export class BertForSequenceClassification extends BertPreTrainedModel {
  bert: BertModel
  dropout: Dropout
  classifier: Linear

  constructor(config: BertConfig) {
    super(config)
    this.bert = new BertModel(config)
    this.dropout = new Dropout(config.classifier_dropout ?? config.hidden_dropout_prob)
    this.classifier = createLinear(config.hidden_size, config.num_labels, config.initializer_range)
  }

  get task(): ModelTask {
    return 'SEQ_CLS'
  }

  getInputEmbeddings(): Module {
    return this.bert.getInputEmbeddings()
  }

  forward(inputs: ModelInputs): ModelOutput {
    const output = this.bert.forward(inputs)
    const logits = this.classifier.forward(this.dropout.forward(output.pooler_output!))
    return { ...output, logits, loss: classificationLoss(logits, inputs.labels, this.config) }
  }
}
