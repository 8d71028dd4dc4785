/** @file DeBERTa with a head that fills in masked tokens: the one that Transformers had first, and the authors'. */
import { add, linear, type Operand, type Tensor } from '../../graph/index.ts'
import { type Activation, getActivation, LayerNorm, type Linear, Module, Parameter, zerosInit } from '../../nn/index.ts'
import type { DebertaV2Config } from '../config.ts'
import { EncoderForMaskedLM } from '../encoder/index.ts'
import { createLinear } from '../init.ts'
import { DebertaV2Model, ignoredTensors } from './model.ts'

/** A dense layer, an activation and a normalisation. */
class PredictionHeadTransform extends Module {
  readonly activation: Activation
  dense: Linear
  LayerNorm: LayerNorm

  constructor(config: DebertaV2Config, width: number) {
    super()
    this.activation = getActivation(config.hidden_act)
    this.dense = createLinear(config.hidden_size, width, config.initializer_range)
    this.LayerNorm = new LayerNorm(width, { eps: config.layer_norm_eps })
  }

  forward(hidden: Tensor): Tensor {
    return this.LayerNorm.forward(this.activation(this.dense.forward(hidden)))
  }
}

/** BERT's head. */
class LegacyPredictionHead extends Module {
  bias: Parameter
  transform: PredictionHeadTransform
  decoder: Linear

  constructor(config: DebertaV2Config) {
    super()
    this.bias = new Parameter([config.vocab_size], { init: zerosInit })
    this.transform = new PredictionHeadTransform(config, config.embedding_size)
    this.decoder = createLinear(config.embedding_size, config.vocab_size, config.initializer_range)
    this.decoder.bias = this.bias
  }

  forward(hidden: Tensor): Tensor {
    return this.decoder.forward(this.transform.forward(hidden))
  }
}

/** The authors' head, which reads the table of tokens itself. */
class PredictionHead extends PredictionHeadTransform {
  bias: Parameter

  constructor(config: DebertaV2Config) {
    super(config, config.hidden_size)
    this.bias = new Parameter([config.vocab_size], { init: zerosInit })
  }

  /** @param table the table of tokens, `[vocabulary, hidden]` */
  score(hidden: Tensor, table: Operand): Tensor {
    return add(linear(this.forward(hidden), table), this.bias)
  }
}

/** The place of the first head in the checkpoint's names. */
class LegacyMLMHead extends Module {
  predictions: LegacyPredictionHead

  constructor(config: DebertaV2Config) {
    super()
    this.predictions = new LegacyPredictionHead(config)
  }

  forward(hidden: Tensor): Tensor {
    return this.predictions.forward(hidden)
  }
}

/** The place of the authors' head in the checkpoint's names. */
class MLMHead extends Module {
  lm_head: PredictionHead

  constructor(config: DebertaV2Config) {
    super()
    this.lm_head = new PredictionHead(config)
  }

  forward(hidden: Tensor, table: Operand): Tensor {
    return this.lm_head.score(hidden, table)
  }
}

/** DeBERTa filling in masked tokens. */
export class DebertaV2ForMaskedLM extends EncoderForMaskedLM<DebertaV2Config> {
  static override readonly modelType: string = 'deberta-v2'

  /** Where the configuration says `legacy`. */
  cls: LegacyMLMHead | undefined
  /** Where it does not. */
  lm_predictions: MLMHead | undefined

  constructor(config: DebertaV2Config) {
    super(config)
    const { embedding_size, hidden_size, label, legacy, tie_word_embeddings } = config
    if (!legacy && embedding_size !== hidden_size) {
      throw new Error(
        `${label}: "embedding_size" is ${embedding_size}; the head of "legacy": false reads embeddings as wide as the ` +
          `layers, expected "hidden_size", ${hidden_size}`,
      )
    }
    this.cls = legacy ? new LegacyMLMHead(config) : undefined
    this.lm_predictions = legacy ? undefined : new MLMHead(config)
    if (this.cls && tie_word_embeddings) this.cls.predictions.decoder.weight = this.table
  }

  override get baseModelPrefix(): string {
    return 'deberta'
  }

  override get ignoredTensors(): readonly RegExp[] {
    return ignoredTensors(this.config, super.ignoredTensors)
  }

  protected override createEncoder(config: DebertaV2Config): DebertaV2Model {
    return new DebertaV2Model(config)
  }

  override getOutputEmbeddings(): Module | undefined {
    return this.cls?.predictions.decoder
  }

  /** The table of tokens. */
  private get table(): Parameter {
    return (this.baseModel as unknown as DebertaV2Model).embeddings.word_embeddings.weight
  }

  protected override predict(rows: Tensor): Tensor {
    return this.cls?.forward(rows) ?? this.lm_predictions!.forward(rows, this.table)
  }
}
