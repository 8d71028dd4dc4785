/** @file ModernBERT with a head: masked tokens, the class of a sequence, the class of each token. */
import { cast, crossEntropy, div, mean, mul, sum, type Tensor, unsqueeze } from '../../graph/index.ts'
import { type Activation, Dropout, getActivation, type LayerNorm, type Linear, Module } from '../../nn/index.ts'
import { firstToken } from '../bert/model.ts'
import type { ModernBertConfig } from '../config.ts'
import { EncoderForMaskedLM, EncoderWithHead } from '../encoder/index.ts'
import type { ModelInputs, ModelOutput, ModelTask } from '../inputs.ts'
import { classificationLoss } from '../sequence-classification.ts'
import { createDense, createNorm, outputDeviation } from './layer.ts'
import { ModernBertModel } from './model.ts'

/** A dense layer, an activation and a normalisation: what stands before every classifier. */
export class ModernBertPredictionHead extends Module {
  readonly activation: Activation
  dense: Linear
  norm: LayerNorm

  constructor(config: ModernBertConfig) {
    super()
    const { hidden_size: width, classifier_bias: bias } = config
    this.activation = getActivation(config.classifier_activation)
    this.dense = createDense(config, width, width, { bias, deviation: outputDeviation(config) })
    this.norm = createNorm(config)
  }

  forward(hidden: Tensor): Tensor {
    return this.norm.forward(this.activation(this.dense.forward(hidden)))
  }
}

/** ModernBERT filling in masked tokens. */
export class ModernBertForMaskedLM extends EncoderForMaskedLM<ModernBertConfig> {
  static override readonly modelType: string = 'modernbert'

  head: ModernBertPredictionHead
  decoder: Linear

  constructor(config: ModernBertConfig) {
    super(config)
    const { hidden_size, vocab_size, decoder_bias: bias } = config
    this.head = new ModernBertPredictionHead(config)
    this.decoder = createDense(config, hidden_size, vocab_size, { bias, deviation: outputDeviation(config) })
    if (config.tie_word_embeddings) {
      this.decoder.weight = (this.baseModel as unknown as ModernBertModel).embeddings.tok_embeddings.weight
    }
  }

  override get baseModelPrefix(): string {
    return 'model'
  }

  protected override createEncoder(config: ModernBertConfig): ModernBertModel {
    return new ModernBertModel(config)
  }

  override getOutputEmbeddings(): Module {
    return this.decoder
  }

  protected override predict(rows: Tensor): Tensor {
    return this.decoder.forward(this.head.forward(rows))
  }
}

/** What the classifiers have in common: the head, and one dense layer. */
abstract class ModernBertClassifier extends EncoderWithHead<ModernBertConfig> {
  static override readonly modelType: string = 'modernbert'

  head: ModernBertPredictionHead
  drop: Dropout
  classifier: Linear

  constructor(config: ModernBertConfig) {
    super(config)
    const { hidden_size, num_labels } = config
    this.head = new ModernBertPredictionHead(config)
    this.drop = new Dropout(config.classifier_dropout)
    this.classifier = createDense(config, hidden_size, num_labels, { bias: true, deviation: hidden_size ** -0.5 })
  }

  override get baseModelPrefix(): string {
    return 'model'
  }

  protected override createEncoder(config: ModernBertConfig): ModernBertModel {
    return new ModernBertModel(config)
  }

  protected classify(hidden: Tensor): Tensor {
    return this.classifier.forward(this.drop.forward(this.head.forward(hidden)))
  }
}

/** ModernBERT with a classifier of sequences. */
export class ModernBertForSequenceClassification extends ModernBertClassifier {
  get task(): ModelTask {
    return 'SEQ_CLS'
  }

  forward(inputs: ModelInputs): ModelOutput {
    const output = this.baseModel.forward(inputs)
    const logits = this.classify(this.pool(output.last_hidden_state!, inputs))
    return { ...output, logits, loss: classificationLoss(logits, inputs.labels, this.config) }
  }

  /** What stands for each sequence, `[batch, hidden]`. */
  private pool(hidden: Tensor, { attention_mask }: ModelInputs): Tensor {
    if (this.config.classifier_pooling === 'cls') return firstToken(hidden)
    if (!attention_mask) return mean(hidden, [1])
    const weights = cast(attention_mask, 'float32')
    return div(sum(mul(hidden, unsqueeze(weights, [2])), [1]), sum(weights, [1], true))
  }
}

/** ModernBERT with a classifier of each token. */
export class ModernBertForTokenClassification extends ModernBertClassifier {
  get task(): ModelTask {
    return 'TOKEN_CLS'
  }

  forward(inputs: ModelInputs): ModelOutput {
    const output = this.baseModel.forward(inputs)
    const logits = this.classify(output.last_hidden_state!)
    return { ...output, logits, ...(inputs.labels && { loss: crossEntropy(logits, inputs.labels) }) }
  }
}
