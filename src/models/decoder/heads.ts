/** @file A decoder with a head: the next token, or the class of a sequence. */
import type { Tensor } from '../../graph/index.ts'
import type { Embedding, Linear, Module } from '../../nn/index.ts'
import { causalLMOutput } from '../causal-lm.ts'
import { createLinear } from '../init.ts'
import type { InputSpec, ModelInputs, ModelOutput, ModelTask } from '../inputs.ts'
import type { PreTrainedModel, TextConfig } from '../pretrained-model.ts'
import { classificationLoss, lastTokenState } from '../sequence-classification.ts'
import { SEGMENT_SPECS } from './mask.ts'
import { DecoderPreTrainedModel } from './pretrained.ts'

/** What the heads read of a configuration. */
export interface DecoderConfig extends TextConfig {
  /** Whether the output layer is the embedding matrix. */
  readonly tie_word_embeddings: boolean
}

/** A decoder with a head. It makes its decoder by {@link createModel} and holds it under the base model's prefix. */
abstract class DecoderWithHead<C extends DecoderConfig> extends DecoderPreTrainedModel<C> {
  constructor(config: C) {
    super(config)
    Object.assign(this, { [this.baseModelPrefix]: this.createModel(config) })
  }

  /** Builds the decoder. */
  protected abstract createModel(config: C): PreTrainedModel<C>

  /** The width of what the decoder gives. */
  protected outputWidth(config: C): number {
    return config.hidden_size
  }

  getInputEmbeddings(): Module {
    return this.baseModel.getInputEmbeddings()
  }
}

/** A decoder that predicts the next token. */
export abstract class DecoderForCausalLM<C extends DecoderConfig> extends DecoderWithHead<C> {
  lm_head: Linear

  constructor(config: C) {
    super(config)
    const { vocab_size, initializer_range } = config
    const head = createLinear(this.outputWidth(config), vocab_size, initializer_range, this.headBias)
    if (config.tie_word_embeddings) head.weight = (this.getInputEmbeddings() as Embedding).weight
    this.lm_head = head
  }

  /** Whether the output layer has a bias. */
  protected get headBias(): boolean {
    return false
  }

  get task(): ModelTask {
    return 'CAUSAL_LM'
  }

  override inputSpecs(): Record<string, InputSpec> {
    return { ...super.inputSpecs(), ...SEGMENT_SPECS }
  }

  override getOutputEmbeddings(): Linear {
    return this.lm_head
  }

  /** @param rows hidden states, `[rows, hidden]` @returns `[rows, vocabulary]` */
  protected score(rows: Tensor): Tensor {
    return this.getOutputEmbeddings().forward(rows)
  }

  forward(inputs: ModelInputs): ModelOutput {
    return causalLMOutput({ forward: rows => this.score(rows) }, this.baseModel.forward(inputs), inputs)
  }
}

/** A decoder with a classifier over each sequence's last token. */
export abstract class DecoderForSequenceClassification<C extends DecoderConfig> extends DecoderWithHead<C> {
  score: Linear

  constructor(config: C) {
    super(config)
    this.score = createLinear(this.outputWidth(config), config.num_labels, config.initializer_range, false)
  }

  get task(): ModelTask {
    return 'SEQ_CLS'
  }

  forward(inputs: ModelInputs): ModelOutput {
    const output = this.baseModel.forward(inputs)
    const logits = this.score.forward(lastTokenState(output.last_hidden_state!, inputs, this.config))
    return { ...output, logits, loss: classificationLoss(logits, inputs.labels, this.config) }
  }
}
