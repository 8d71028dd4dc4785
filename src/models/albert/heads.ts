/** @file ALBERT with a head: a class, a class for each token, the span of an answer, masked tokens. */
import type { Tensor } from '../../graph/index.ts'
import {
  type Activation,
  Dropout,
  getActivation,
  LayerNorm,
  type Linear,
  Module,
  Parameter,
  zerosInit,
} from '../../nn/index.ts'
import type { AlbertConfig } from '../config.ts'
import {
  classifierDropout,
  EncoderForMaskedLM,
  EncoderForQuestionAnswering,
  EncoderForTokenClassification,
  EncoderWithHead,
} from '../encoder/index.ts'
import { createLinear } from '../init.ts'
import type { ModelInputs, ModelOutput, ModelTask } from '../inputs.ts'
import { classificationLoss } from '../sequence-classification.ts'
import { AlbertModel } from './model.ts'

/** ALBERT with a dense layer over the pooled first token. */
export class AlbertForSequenceClassification extends EncoderWithHead<AlbertConfig> {
  static override readonly modelType: string = 'albert'

  dropout: Dropout
  classifier: Linear

  constructor(config: AlbertConfig) {
    super(config)
    this.dropout = new Dropout(classifierDropout(config))
    this.classifier = createLinear(config.hidden_size, config.num_labels, config.initializer_range)
  }

  protected override createEncoder(config: AlbertConfig): AlbertModel {
    return new AlbertModel(config)
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

/** ALBERT with a dense layer over each token. */
export class AlbertForTokenClassification extends EncoderForTokenClassification<AlbertConfig> {
  static override readonly modelType: string = 'albert'

  protected override createEncoder(config: AlbertConfig): AlbertModel {
    return new AlbertModel(config, { pooler: false })
  }

  protected override headDropout(config: AlbertConfig): number {
    return classifierDropout(config)
  }
}

/** ALBERT finding the span of a text which answers a question. */
export class AlbertForQuestionAnswering extends EncoderForQuestionAnswering<AlbertConfig> {
  static override readonly modelType: string = 'albert'

  protected override createEncoder(config: AlbertConfig): AlbertModel {
    return new AlbertModel(config, { pooler: false })
  }
}

/** From hidden states to scores over the vocabulary. */
class AlbertMLMHead extends Module {
  readonly activation: Activation
  bias: Parameter
  LayerNorm: LayerNorm
  dense: Linear
  decoder: Linear

  constructor(config: AlbertConfig) {
    super()
    const { embedding_size: width, vocab_size, initializer_range: range } = config
    this.activation = getActivation(config.hidden_act)
    this.bias = new Parameter([vocab_size], { init: zerosInit })
    this.LayerNorm = new LayerNorm(width, { eps: config.layer_norm_eps })
    this.dense = createLinear(config.hidden_size, width, range)
    this.decoder = createLinear(width, vocab_size, range)
    this.decoder.bias = this.bias
  }

  forward(hidden: Tensor): Tensor {
    return this.decoder.forward(this.LayerNorm.forward(this.activation(this.dense.forward(hidden))))
  }
}

/** ALBERT filling in masked tokens. */
export class AlbertForMaskedLM extends EncoderForMaskedLM<AlbertConfig> {
  static override readonly modelType: string = 'albert'

  predictions: AlbertMLMHead

  constructor(config: AlbertConfig) {
    super(config)
    this.predictions = new AlbertMLMHead(config)
    if (config.tie_word_embeddings) {
      const { embeddings } = this.baseModel as unknown as AlbertModel
      this.predictions.decoder.weight = embeddings.word_embeddings.weight
    }
  }

  protected override createEncoder(config: AlbertConfig): AlbertModel {
    return new AlbertModel(config, { pooler: false })
  }

  override getOutputEmbeddings(): Module {
    return this.predictions.decoder
  }

  protected override predict(rows: Tensor): Tensor {
    return this.predictions.forward(rows)
  }
}
