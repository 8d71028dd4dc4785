/** @file DeBERTa with a head: the class of a sequence, the class of each token, the span of an answer. */

import type { Tensor } from '../../graph/index.ts'
import { type Activation, Dropout, getActivation, type Linear, Module } from '../../nn/index.ts'
import { firstToken } from '../bert/model.ts'
import type { DebertaV2Config } from '../config.ts'
import { EncoderForQuestionAnswering, EncoderForTokenClassification, EncoderWithHead } from '../encoder/index.ts'
import { createLinear } from '../init.ts'
import type { ModelInputs, ModelOutput, ModelTask } from '../inputs.ts'
import { classificationLoss } from '../sequence-classification.ts'
import { DebertaV2Model, ignoredTensors } from './model.ts'

/** A dense layer over the first token of each sequence. */
export class ContextPooler extends Module {
  readonly activation: Activation
  dense: Linear
  dropout: Dropout

  constructor(config: DebertaV2Config) {
    super()
    const { pooler_hidden_size: width } = config
    this.activation = getActivation(config.pooler_hidden_act)
    this.dense = createLinear(width, width, config.initializer_range)
    this.dropout = new Dropout(config.pooler_dropout)
  }

  /** @param hidden `[batch, sequence, hidden]` @returns `[batch, hidden]` */
  forward(hidden: Tensor): Tensor {
    return this.activation(this.dense.forward(this.dropout.forward(firstToken(hidden))))
  }
}

/** DeBERTa with a classifier of sequences. */
export class DebertaV2ForSequenceClassification extends EncoderWithHead<DebertaV2Config> {
  static override readonly modelType: string = 'deberta-v2'

  pooler: ContextPooler
  dropout: Dropout
  classifier: Linear

  constructor(config: DebertaV2Config) {
    super(config)
    this.pooler = new ContextPooler(config)
    this.dropout = new Dropout(config.cls_dropout ?? config.hidden_dropout_prob)
    this.classifier = createLinear(config.hidden_size, config.num_labels, config.initializer_range)
  }

  override get baseModelPrefix(): string {
    return 'deberta'
  }

  protected override get readsPooler(): boolean {
    return true
  }

  override get ignoredTensors(): readonly RegExp[] {
    return ignoredTensors(this.config, super.ignoredTensors)
  }

  protected override createEncoder(config: DebertaV2Config): DebertaV2Model {
    return new DebertaV2Model(config)
  }

  get task(): ModelTask {
    return 'SEQ_CLS'
  }

  forward(inputs: ModelInputs): ModelOutput {
    const output = this.baseModel.forward(inputs)
    const pooled = this.dropout.forward(this.pooler.forward(output.last_hidden_state!))
    const logits = this.classifier.forward(pooled)
    return { ...output, logits, loss: classificationLoss(logits, inputs.labels, this.config) }
  }
}

/** DeBERTa with a dense layer over each token. */
export class DebertaV2ForTokenClassification extends EncoderForTokenClassification<DebertaV2Config> {
  static override readonly modelType: string = 'deberta-v2'

  override get baseModelPrefix(): string {
    return 'deberta'
  }

  override get ignoredTensors(): readonly RegExp[] {
    return ignoredTensors(this.config, super.ignoredTensors)
  }

  protected override createEncoder(config: DebertaV2Config): DebertaV2Model {
    return new DebertaV2Model(config)
  }

  protected override headDropout(config: DebertaV2Config): number {
    return config.hidden_dropout_prob
  }
}

/** DeBERTa finding the span of a text which answers a question. */
export class DebertaV2ForQuestionAnswering extends EncoderForQuestionAnswering<DebertaV2Config> {
  static override readonly modelType: string = 'deberta-v2'

  override get baseModelPrefix(): string {
    return 'deberta'
  }

  override get ignoredTensors(): readonly RegExp[] {
    return ignoredTensors(this.config, super.ignoredTensors)
  }

  protected override createEncoder(config: DebertaV2Config): DebertaV2Model {
    return new DebertaV2Model(config)
  }
}
