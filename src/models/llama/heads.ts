/** @file Llama with a head: the next token, or the class of a sequence. */
import type { Linear } from '../../nn/index.ts'
import type { LlamaConfig } from '../config.ts'
import { DecoderForCausalLM, DecoderForSequenceClassification } from '../decoder/index.ts'
import type { LlamaFamilyConfig } from './layer.ts'
import { LlamaModel } from './model.ts'

/** Llama predicting the next token. */
export class LlamaForCausalLM<C extends LlamaFamilyConfig = LlamaConfig> extends DecoderForCausalLM<C> {
  static override readonly modelType: string = 'llama'

  declare model: LlamaModel<C>
  declare lm_head: Linear

  protected override createModel(config: C): LlamaModel<C> {
    return new LlamaModel(config)
  }
}

/** Llama with a classifier over each sequence's last token. */
export class LlamaForSequenceClassification<
  C extends LlamaFamilyConfig = LlamaConfig,
> extends DecoderForSequenceClassification<C> {
  static override readonly modelType: string = 'llama'

  declare model: LlamaModel<C>

  protected override createModel(config: C): LlamaModel<C> {
    return new LlamaModel(config)
  }
}
