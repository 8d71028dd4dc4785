/** @file The configuration of ViT. */
import type { PretrainedConfig } from './pretrained.ts'
import type { ConfigReader } from './reader.ts'
import { type PatchFields, readPatches } from './vision.ts'

interface ViTFields extends PatchFields {
  readonly hidden_size: number
  readonly num_hidden_layers: number
  readonly num_attention_heads: number
  readonly intermediate_size: number
  /** Activation of the feed-forward layer. */
  readonly hidden_act: string
  readonly hidden_dropout_prob: number
  readonly attention_probs_dropout_prob: number
  readonly initializer_range: number
  readonly layer_norm_eps: number
  /** Whether queries, keys and values have a bias. */
  readonly qkv_bias: boolean
  readonly encoder_stride: number
  /** Width of the pooled first token; `hidden_size` where the file says nothing. */
  readonly pooler_output_size: number
  readonly pooler_act: string
}

/** The configuration of ViT (`model_type` "vit"). */
export interface ViTConfig extends PretrainedConfig, ViTFields {
  readonly model_type: 'vit'
}

/** Reads a ViT configuration; absent keys are those of vit-base-patch16-224. */
export function parseViTConfig(reader: ConfigReader): ViTFields {
  const hidden_size = reader.integer('hidden_size', 768)
  const num_attention_heads = reader.integer('num_attention_heads', 12)
  reader.divisible('hidden_size', hidden_size, 'num_attention_heads', num_attention_heads)
  return {
    ...readPatches(reader, { image_size: 224, patch_size: 16 }),
    hidden_size,
    num_hidden_layers: reader.integer('num_hidden_layers', 12),
    num_attention_heads,
    intermediate_size: reader.integer('intermediate_size', 3072),
    hidden_act: reader.activation('hidden_act', 'gelu'),
    hidden_dropout_prob: reader.probability('hidden_dropout_prob', 0),
    attention_probs_dropout_prob: reader.probability('attention_probs_dropout_prob', 0),
    initializer_range: reader.number('initializer_range', 0.02, { min: 0 }),
    layer_norm_eps: reader.number('layer_norm_eps', 1e-12, { min: 0 }),
    qkv_bias: reader.boolean('qkv_bias', true),
    encoder_stride: reader.integer('encoder_stride', 16),
    pooler_output_size: reader.optionalInteger('pooler_output_size', null) ?? hidden_size,
    pooler_act: reader.activation('pooler_act', 'tanh'),
  }
}
