/** @file Llama with a head: the next token, or the class of a sequence. */
import type { Linear, Module } from '../../nn/index.ts'
import { causalLMOutput } from '../causal-lm.ts'
import type { LlamaConfig } from '../config.ts'
import { createLinear } from '../init.ts'
import type { ModelInputs, ModelOutput, ModelTask } from '../inputs.ts'
import { classificationLoss, lastTokenState } from '../sequence-classification.ts'
import type { LlamaFamilyConfig } from './layer.ts'
import { LlamaModel, LlamaPreTrainedModel } from './model.ts'

/** Llama predicting the next token. */
export class LlamaForCausalLM<C extends LlamaFamilyConfig = LlamaConfig> extends LlamaPreTrainedModel<C> {
  model: LlamaModel<C>
  lm_head: Linear

  constructor(config: C) {
    super(config)
    this.model = this.createModel(config)
    this.lm_head = createLinear(config.hidden_size, config.vocab_size, config.initializer_range, false)
    if (config.tie_word_embeddings) this.lm_head.weight = this.model.embed_tokens.weight
  }

  /** Builds the decoder. */
  protected createModel(config: C): LlamaModel<C> {
    return new LlamaModel(config)
  }

  get task(): ModelTask {
    return 'CAUSAL_LM'
  }

  getInputEmbeddings(): Module {
    return this.model.getInputEmbeddings()
  }

  override getOutputEmbeddings(): Module {
    return this.lm_head
  }

  forward(inputs: ModelInputs): ModelOutput {
    return causalLMOutput(this.lm_head, this.model.forward(inputs), inputs)
  }
}

/** Llama with a classifier over each sequence's last token. */
export class LlamaForSequenceClassification<C extends LlamaFamilyConfig = LlamaConfig> extends LlamaPreTrainedModel<C> {
  model: LlamaModel<C>
  score: Linear

  constructor(config: C) {
    super(config)
    this.model = this.createModel(config)
    this.score = createLinear(config.hidden_size, config.num_labels, config.initializer_range, false)
  }

  /** Builds the decoder. */
  protected createModel(config: C): LlamaModel<C> {
    return new LlamaModel(config)
  }

  get task(): ModelTask {
    return 'SEQ_CLS'
  }

  getInputEmbeddings(): Module {
    return this.model.getInputEmbeddings()
  }

  forward(inputs: ModelInputs): ModelOutput {
    const output = this.model.forward(inputs)
    const logits = this.score.forward(lastTokenState(output.last_hidden_state!, inputs, this.config))
    return { ...output, logits, loss: classificationLoss(logits, inputs.labels, this.config) }
  }
}
