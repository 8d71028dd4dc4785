/** @file BERT with a head that fills in masked tokens. */
import type { Tensor } from '../../graph/index.ts'
import { type Activation, getActivation, LayerNorm, type Linear, Module, Parameter, zerosInit } from '../../nn/index.ts'
import type { BertConfig } from '../config.ts'
import { EncoderForMaskedLM } from '../encoder/index.ts'
import { createLinear } from '../init.ts'
import { BertModel } from './model.ts'

/** A dense layer, an activation and a normalisation. */
class BertPredictionHeadTransform extends Module {
  readonly activation: Activation
  dense: Linear
  LayerNorm: LayerNorm

  constructor(config: BertConfig) {
    super()
    this.activation = getActivation(config.hidden_act)
    this.dense = createLinear(config.hidden_size, config.hidden_size, config.initializer_range)
    this.LayerNorm = new LayerNorm(config.hidden_size, { eps: config.layer_norm_eps })
  }

  forward(hidden: Tensor): Tensor {
    return this.LayerNorm.forward(this.activation(this.dense.forward(hidden)))
  }
}

/** From hidden states to scores over the vocabulary. */
class BertLMPredictionHead extends Module {
  bias: Parameter
  transform: BertPredictionHeadTransform
  decoder: Linear

  constructor(config: BertConfig) {
    super()
    this.bias = new Parameter([config.vocab_size], { init: zerosInit })
    this.transform = new BertPredictionHeadTransform(config)
    this.decoder = createLinear(config.hidden_size, config.vocab_size, config.initializer_range)
    this.decoder.bias = this.bias
  }

  forward(hidden: Tensor): Tensor {
    return this.decoder.forward(this.transform.forward(hidden))
  }
}

/** The place of the head in the checkpoint's names. */
class BertOnlyMLMHead extends Module {
  predictions: BertLMPredictionHead

  constructor(config: BertConfig) {
    super()
    this.predictions = new BertLMPredictionHead(config)
  }

  forward(hidden: Tensor): Tensor {
    return this.predictions.forward(hidden)
  }
}

/** BERT filling in masked tokens. */
export class BertForMaskedLM extends EncoderForMaskedLM<BertConfig> {
  static override readonly modelType: string = 'bert'

  cls: BertOnlyMLMHead

  constructor(config: BertConfig) {
    super(config)
    this.cls = new BertOnlyMLMHead(config)
    if (config.tie_word_embeddings) {
      this.cls.predictions.decoder.weight = (this.baseModel as unknown as BertModel).embeddings.word_embeddings.weight
    }
  }

  protected override createEncoder(config: BertConfig): BertModel {
    return new BertModel(config, { pooler: false })
  }

  override getOutputEmbeddings(): Module {
    return this.cls.predictions.decoder
  }

  protected override predict(rows: Tensor): Tensor {
    return this.cls.forward(rows)
  }
}
