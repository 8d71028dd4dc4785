/** @file RoBERTa with a head: a class, a class for each token, the span of an answer, masked tokens. */
import { gelu, type Tensor, tanh } from '../../graph/index.ts'
import { Dropout, LayerNorm, type Linear, Module, Parameter, zerosInit } from '../../nn/index.ts'
import { BertForQuestionAnswering, BertForTokenClassification } from '../bert/index.ts'
import { firstToken } from '../bert/model.ts'
import type { RobertaConfig, RobertaFamilyConfig } from '../config.ts'
import { classifierDropout, EncoderForMaskedLM, EncoderWithHead } from '../encoder/index.ts'
import { createLinear } from '../init.ts'
import type { ModelInputs, ModelOutput, ModelTask } from '../inputs.ts'
import { classificationLoss } from '../sequence-classification.ts'
import { RobertaModel } from './model.ts'

/** Two dense layers over the first token. */
export class RobertaClassificationHead extends Module {
  dense: Linear
  dropout: Dropout
  out_proj: Linear

  constructor(config: RobertaFamilyConfig) {
    super()
    this.dense = createLinear(config.hidden_size, config.hidden_size, config.initializer_range)
    this.dropout = new Dropout(classifierDropout(config))
    this.out_proj = createLinear(config.hidden_size, config.num_labels, config.initializer_range)
  }

  /** @param hidden `[batch, sequence, hidden]` @returns `[batch, classes]` */
  forward(hidden: Tensor): Tensor {
    const inner = tanh(this.dense.forward(this.dropout.forward(firstToken(hidden))))
    return this.out_proj.forward(this.dropout.forward(inner))
  }
}

/** RoBERTa with a classifier of sequences. */
export class RobertaForSequenceClassification<
  C extends RobertaFamilyConfig = RobertaConfig,
> extends EncoderWithHead<C> {
  static override readonly modelType: string = 'roberta'

  classifier: RobertaClassificationHead

  constructor(config: C) {
    super(config)
    this.classifier = new RobertaClassificationHead(config)
  }

  override get baseModelPrefix(): string {
    return 'roberta'
  }

  protected override createEncoder(config: C): RobertaModel<C> {
    return new RobertaModel(config, { pooler: false })
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

/** RoBERTa with a dense layer over each token. */
export class RobertaForTokenClassification<
  C extends RobertaFamilyConfig = RobertaConfig,
> extends BertForTokenClassification<C> {
  static override readonly modelType: string = 'roberta'

  override get baseModelPrefix(): string {
    return 'roberta'
  }

  protected override createEncoder(config: C): RobertaModel<C> {
    return new RobertaModel(config, { pooler: false })
  }
}

/** RoBERTa finding the span of a text which answers a question. */
export class RobertaForQuestionAnswering<
  C extends RobertaFamilyConfig = RobertaConfig,
> extends BertForQuestionAnswering<C> {
  static override readonly modelType: string = 'roberta'

  override get baseModelPrefix(): string {
    return 'roberta'
  }

  protected override createEncoder(config: C): RobertaModel<C> {
    return new RobertaModel(config, { pooler: false })
  }
}

/** From hidden states to scores over the vocabulary. */
export class RobertaLMHead extends Module {
  bias: Parameter
  dense: Linear
  layer_norm: LayerNorm
  decoder: Linear

  constructor(config: RobertaFamilyConfig) {
    super()
    const { hidden_size: width, vocab_size, initializer_range: range } = config
    this.bias = new Parameter([vocab_size], { init: zerosInit })
    this.dense = createLinear(width, width, range)
    this.layer_norm = new LayerNorm(width, { eps: config.layer_norm_eps })
    this.decoder = createLinear(width, vocab_size, range)
    this.decoder.bias = this.bias
  }

  forward(hidden: Tensor): Tensor {
    return this.decoder.forward(this.layer_norm.forward(gelu(this.dense.forward(hidden))))
  }
}

/** RoBERTa filling in masked tokens. */
export class RobertaForMaskedLM<C extends RobertaFamilyConfig = RobertaConfig> extends EncoderForMaskedLM<C> {
  static override readonly modelType: string = 'roberta'

  lm_head: RobertaLMHead

  constructor(config: C) {
    super(config)
    this.lm_head = new RobertaLMHead(config)
    if (config.tie_word_embeddings) {
      const { embeddings } = this.baseModel as unknown as RobertaModel
      this.lm_head.decoder.weight = embeddings.word_embeddings.weight
    }
  }

  override get baseModelPrefix(): string {
    return 'roberta'
  }

  protected override createEncoder(config: C): RobertaModel<C> {
    return new RobertaModel(config, { pooler: false })
  }

  override getOutputEmbeddings(): Module {
    return this.lm_head.decoder
  }

  protected override predict(rows: Tensor): Tensor {
    return this.lm_head.forward(rows)
  }
}
