/** @file DistilBERT with a head: a class, a class for each token, the span of an answer, masked tokens. */
import { relu, type Tensor } from '../../graph/index.ts'
import { type Activation, Dropout, getActivation, LayerNorm, type Linear, type Module } from '../../nn/index.ts'
import { firstToken } from '../bert/model.ts'
import type { DistilBertConfig } from '../config.ts'
import {
  EncoderForMaskedLM,
  EncoderForQuestionAnswering,
  EncoderForTokenClassification,
  EncoderWithHead,
} from '../encoder/index.ts'
import { createLinear } from '../init.ts'
import type { ModelInputs, ModelOutput, ModelTask } from '../inputs.ts'
import { classificationLoss } from '../sequence-classification.ts'
import { DISTILBERT_EPSILON } from './layer.ts'
import { DistilBertModel } from './model.ts'

const MODEL_TYPE = 'distilbert'

/** DistilBERT with two dense layers over the first token. */
export class DistilBertForSequenceClassification extends EncoderWithHead<DistilBertConfig> {
  static override readonly modelType: string = MODEL_TYPE

  pre_classifier: Linear
  classifier: Linear
  dropout: Dropout

  constructor(config: DistilBertConfig) {
    super(config)
    this.pre_classifier = createLinear(config.dim, config.dim, config.initializer_range)
    this.classifier = createLinear(config.dim, config.num_labels, config.initializer_range)
    this.dropout = new Dropout(config.seq_classif_dropout)
  }

  protected override createEncoder(config: DistilBertConfig): DistilBertModel {
    return new DistilBertModel(config)
  }

  get task(): ModelTask {
    return 'SEQ_CLS'
  }

  forward(inputs: ModelInputs): ModelOutput {
    const output = this.baseModel.forward(inputs)
    const inner = relu(this.pre_classifier.forward(firstToken(output.last_hidden_state!)))
    const logits = this.classifier.forward(this.dropout.forward(inner))
    return { ...output, logits, loss: classificationLoss(logits, inputs.labels, this.config) }
  }
}

/** DistilBERT with a dense layer over each token. */
export class DistilBertForTokenClassification extends EncoderForTokenClassification<DistilBertConfig> {
  static override readonly modelType: string = MODEL_TYPE

  protected override createEncoder(config: DistilBertConfig): DistilBertModel {
    return new DistilBertModel(config)
  }

  protected override headDropout(config: DistilBertConfig): number {
    return config.dropout
  }
}

/** DistilBERT finding the span of a text which answers a question. */
export class DistilBertForQuestionAnswering extends EncoderForQuestionAnswering<DistilBertConfig> {
  static override readonly modelType: string = MODEL_TYPE

  protected override createEncoder(config: DistilBertConfig): DistilBertModel {
    return new DistilBertModel(config)
  }

  protected override headDropout(config: DistilBertConfig): number {
    return config.qa_dropout
  }
}

/** DistilBERT filling in masked tokens. */
export class DistilBertForMaskedLM extends EncoderForMaskedLM<DistilBertConfig> {
  static override readonly modelType: string = MODEL_TYPE

  readonly activation: Activation
  vocab_transform: Linear
  vocab_layer_norm: LayerNorm
  vocab_projector: Linear

  constructor(config: DistilBertConfig) {
    super(config)
    this.activation = getActivation(config.activation)
    this.vocab_transform = createLinear(config.dim, config.dim, config.initializer_range)
    this.vocab_layer_norm = new LayerNorm(config.dim, { eps: DISTILBERT_EPSILON })
    this.vocab_projector = createLinear(config.dim, config.vocab_size, config.initializer_range)
    if (config.tie_word_embeddings) {
      const { embeddings } = this.baseModel as unknown as DistilBertModel
      this.vocab_projector.weight = embeddings.word_embeddings.weight
    }
  }

  protected override createEncoder(config: DistilBertConfig): DistilBertModel {
    return new DistilBertModel(config)
  }

  override getOutputEmbeddings(): Module {
    return this.vocab_projector
  }

  protected override predict(rows: Tensor): Tensor {
    const inner = this.activation(this.vocab_transform.forward(rows))
    return this.vocab_projector.forward(this.vocab_layer_norm.forward(inner))
  }
}
