/** @file Gemma 2 (arXiv 2408.00118): Gemma with more normalisations, bounded scores and every other layer sliding. */
import { mul, type Tensor, tanh } from '../../graph/index.ts'
import type { Gemma2Config, Gemma2FamilyConfig } from '../config.ts'
import type { DecoderLayer } from '../decoder/index.ts'
import { GemmaModel } from '../gemma/index.ts'
import { LlamaForCausalLM, LlamaForSequenceClassification } from '../llama/index.ts'
import type { LlamaLayerOptions } from '../llama/layer.ts'
import { Gemma2DecoderLayer } from './layer.ts'

/** The bare decoder. */
export class Gemma2Model<C extends Gemma2FamilyConfig = Gemma2Config> extends GemmaModel<C> {
  static override readonly modelType: string = 'gemma2'

  protected override createLayer(config: C, index: number): DecoderLayer {
    return new Gemma2DecoderLayer(config, this.layerOptions(config, index))
  }

  protected override layerOptions(config: C, index: number): LlamaLayerOptions {
    const slides = config.layer_types[index] === 'sliding_attention'
    return { ...super.layerOptions(config, index), window: (slides && config.sliding_window) || undefined }
  }
}

/** Gemma 2 predicting the next token. */
export class Gemma2ForCausalLM<C extends Gemma2FamilyConfig = Gemma2Config> extends LlamaForCausalLM<C> {
  static override readonly modelType: string = 'gemma2'

  protected override createModel(config: C): Gemma2Model<C> {
    return new Gemma2Model(config)
  }

  protected override score(rows: Tensor): Tensor {
    const cap = this.config.final_logit_softcapping
    const logits = super.score(rows)
    return cap === null ? logits : mul(tanh(mul(logits, 1 / cap)), cap)
  }
}

/** Gemma 2 with a classifier over each sequence's last token. */
export class Gemma2ForSequenceClassification<
  C extends Gemma2FamilyConfig = Gemma2Config,
> extends LlamaForSequenceClassification<C> {
  static override readonly modelType: string = 'gemma2'

  protected override createModel(config: C): Gemma2Model<C> {
    return new Gemma2Model(config)
  }
}
