/** @file ELECTRA with a head: a class, a class for each token, the span of an answer, masked tokens. */
import { gelu, type Tensor } from '../../graph/index.ts'
import { Dropout, LayerNorm, type Linear, Module } from '../../nn/index.ts'
import { BertForQuestionAnswering, BertForTokenClassification } from '../bert/index.ts'
import { firstToken } from '../bert/model.ts'
import type { ElectraConfig } from '../config.ts'
import { classifierDropout, EncoderForMaskedLM, EncoderWithHead } from '../encoder/index.ts'
import { createLinear } from '../init.ts'
import type { ModelInputs, ModelOutput, ModelTask } from '../inputs.ts'
import { classificationLoss } from '../sequence-classification.ts'
import { ElectraModel } from './model.ts'

/** Two dense layers over the first token. */
class ElectraClassificationHead extends Module {
  dense: Linear
  dropout: Dropout
  out_proj: Linear

  constructor(config: ElectraConfig) {
    super()
    this.dense = createLinear(config.hidden_size, config.hidden_size, config.initializer_range)
    this.dropout = new Dropout(classifierDropout(config))
    this.out_proj = createLinear(config.hidden_size, config.num_labels, config.initializer_range)
  }

  /** @param hidden `[batch, sequence, hidden]` @returns `[batch, classes]` */
  forward(hidden: Tensor): Tensor {
    const inner = gelu(this.dense.forward(this.dropout.forward(firstToken(hidden))))
    return this.out_proj.forward(this.dropout.forward(inner))
  }
}

/** ELECTRA with a classifier of sequences. */
export class ElectraForSequenceClassification extends EncoderWithHead<ElectraConfig> {
  static override readonly modelType: string = 'electra'

  classifier: ElectraClassificationHead

  constructor(config: ElectraConfig) {
    super(config)
    this.classifier = new ElectraClassificationHead(config)
  }

  protected override createEncoder(config: ElectraConfig): ElectraModel {
    return new ElectraModel(config)
  }

  get task(): ModelTask {
    return 'SEQ_CLS'
  }

  forward(inputs: ModelInputs): ModelOutput {
    const output = this.baseModel.forward(inputs)
    const logits = this.classifier.forward(output.last_hidden_state!)
    return { ...output, logits, loss: classificationLoss(logits, inputs.labels, this.config) }
  }
}

/** ELECTRA with a dense layer over each token. */
export class ElectraForTokenClassification extends BertForTokenClassification<ElectraConfig> {
  static override readonly modelType: string = 'electra'

  protected override createEncoder(config: ElectraConfig): ElectraModel {
    return new ElectraModel(config)
  }
}

/** ELECTRA finding the span of a text which answers a question. */
export class ElectraForQuestionAnswering extends BertForQuestionAnswering<ElectraConfig> {
  static override readonly modelType: string = 'electra'

  protected override createEncoder(config: ElectraConfig): ElectraModel {
    return new ElectraModel(config)
  }
}

/** From hidden states to the width of the embeddings. */
class ElectraGeneratorPredictions extends Module {
  LayerNorm: LayerNorm
  dense: Linear

  constructor(config: ElectraConfig) {
    super()
    this.LayerNorm = new LayerNorm(config.embedding_size, { eps: config.layer_norm_eps })
    this.dense = createLinear(config.hidden_size, config.embedding_size, config.initializer_range)
  }

  forward(hidden: Tensor): Tensor {
    return this.LayerNorm.forward(gelu(this.dense.forward(hidden)))
  }
}

/** ELECTRA's generator, filling in masked tokens. */
export class ElectraForMaskedLM extends EncoderForMaskedLM<ElectraConfig> {
  static override readonly modelType: string = 'electra'

  generator_predictions: ElectraGeneratorPredictions
  generator_lm_head: Linear

  constructor(config: ElectraConfig) {
    super(config)
    this.generator_predictions = new ElectraGeneratorPredictions(config)
    this.generator_lm_head = createLinear(config.embedding_size, config.vocab_size, config.initializer_range)
    if (config.tie_word_embeddings) {
      const { embeddings } = this.baseModel as unknown as ElectraModel
      this.generator_lm_head.weight = embeddings.word_embeddings.weight
    }
  }

  protected override createEncoder(config: ElectraConfig): ElectraModel {
    return new ElectraModel(config)
  }

  override getOutputEmbeddings(): Module {
    return this.generator_lm_head
  }

  protected override predict(rows: Tensor): Tensor {
    return this.generator_lm_head.forward(this.generator_predictions.forward(rows))
  }
}
