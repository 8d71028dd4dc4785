/** @file GPT-2 with a head: the next token, or the class of a sequence. */
import type { Linear, Module } from '../../nn/index.ts'
import { causalLMOutput } from '../causal-lm.ts'
import type { Gpt2Config } from '../config.ts'
import { SEGMENT_SPECS } from '../decoder/index.ts'
import { createLinear } from '../init.ts'
import type { InputSpec, ModelInputs, ModelOutput, ModelTask } from '../inputs.ts'
import { classificationLoss, lastTokenState } from '../sequence-classification.ts'
import { GPT2Model, GPT2PreTrainedModel } from './model.ts'

/** GPT-2 predicting the next token. */
export class GPT2LMHeadModel extends GPT2PreTrainedModel {
  transformer: GPT2Model
  lm_head: Linear

  constructor(config: Gpt2Config) {
    super(config)
    this.transformer = new GPT2Model(config)
    this.lm_head = createLinear(config.n_embd, config.vocab_size, config.initializer_range, false)
    if (config.tie_word_embeddings) this.lm_head.weight = this.transformer.wte.weight
  }

  get task(): ModelTask {
    return 'CAUSAL_LM'
  }

  getInputEmbeddings(): Module {
    return this.transformer.getInputEmbeddings()
  }

  override inputSpecs(): Record<string, InputSpec> {
    return { ...super.inputSpecs(), ...SEGMENT_SPECS }
  }

  override getOutputEmbeddings(): Module {
    return this.lm_head
  }

  forward(inputs: ModelInputs): ModelOutput {
    return causalLMOutput(this.lm_head, this.transformer.forward(inputs), inputs)
  }
}

/** GPT-2 with a classifier over each sequence's last token. */
export class GPT2ForSequenceClassification extends GPT2PreTrainedModel {
  transformer: GPT2Model
  score: Linear

  constructor(config: Gpt2Config) {
    super(config)
    this.transformer = new GPT2Model(config)
    this.score = createLinear(config.n_embd, config.num_labels, config.initializer_range, false)
  }

  get task(): ModelTask {
    return 'SEQ_CLS'
  }

  getInputEmbeddings(): Module {
    return this.transformer.getInputEmbeddings()
  }

  forward(inputs: ModelInputs): ModelOutput {
    const output = this.transformer.forward(inputs)
    const logits = this.score.forward(lastTokenState(output.last_hidden_state!, inputs, this.config))
    return { ...output, logits, loss: classificationLoss(logits, inputs.labels, this.config) }
  }
}
