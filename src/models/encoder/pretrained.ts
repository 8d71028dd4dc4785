/** @file What encoders share, with a head over them or without. */
import type { Module } from '../../nn/index.ts'
import type { InputSpec } from '../inputs.ts'
import { type ModelConfig, PreTrainedModel } from '../pretrained-model.ts'

const IGNORED = [/(^|\.)embeddings\.position_ids$/]
const IGNORED_WITH_POOLER = [...IGNORED, /(^|\.)pooler\./]

/** What encoders of text have in common. The base model stands under the architecture's name. */
export abstract class EncoderPreTrainedModel<C extends ModelConfig = ModelConfig> extends PreTrainedModel<C> {
  constructor(config: C) {
    super(config)
    for (const key of ['is_decoder', 'add_cross_attention']) {
      if ((config as unknown as Record<string, unknown>)[key]) {
        throw new Error(
          `${config.label}: "${key}" is true; this architecture is computed as an encoder only, expected false`,
        )
      }
    }
  }

  get baseModelPrefix(): string {
    return (this.constructor as typeof PreTrainedModel).modelType
  }

  get ignoredTensors(): readonly RegExp[] {
    return IGNORED
  }

  /** TensorFlow's names of the normalisation's parameters, which the first checkpoints kept. */
  override currentName(name: string): string {
    return name.replace(/\bLayerNorm\.gamma$/, 'LayerNorm.weight').replace(/\bLayerNorm\.beta$/, 'LayerNorm.bias')
  }

  override inputSpecs(): Record<string, InputSpec> {
    const specs = super.inputSpecs()
    const { type_vocab_size, embedding_size } = this.config as { type_vocab_size?: number; embedding_size?: number }
    if (type_vocab_size) specs.token_type_ids = { dtype: 'int64', shape: ['batch', 'sequence'], optional: true }
    if (embedding_size) specs.inputs_embeds = { ...specs.inputs_embeds, shape: ['batch', 'sequence', embedding_size] }
    return specs
  }
}

/** An encoder with a head. It makes its encoder by {@link createEncoder} and holds it under the base model's prefix. */
export abstract class EncoderWithHead<C extends ModelConfig = ModelConfig> extends EncoderPreTrainedModel<C> {
  constructor(config: C) {
    super(config)
    Object.assign(this, { [this.baseModelPrefix]: this.createEncoder(config) })
  }

  /** Builds the encoder. */
  protected abstract createEncoder(config: C): PreTrainedModel<C>

  /** Whether the head reads the pooled first token; without, a checkpoint's pooler is passed over. */
  protected get readsPooler(): boolean {
    return false
  }

  override get ignoredTensors(): readonly RegExp[] {
    return this.readsPooler ? super.ignoredTensors : IGNORED_WITH_POOLER
  }

  getInputEmbeddings(): Module {
    return this.baseModel.getInputEmbeddings()
  }
}

/** The dropout before a classifier: the configuration's own, else that of the hidden states. */
export function classifierDropout(config: {
  readonly classifier_dropout?: number | null
  readonly hidden_dropout_prob: number
}): number {
  return config.classifier_dropout ?? config.hidden_dropout_prob
}
