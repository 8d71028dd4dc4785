/** @file The configuration of DINOv2. */
import type { PretrainedConfig } from './pretrained.ts'
import type { ConfigReader } from './reader.ts'
import { type PatchFields, readPatches } from './vision.ts'

interface Dinov2Fields extends PatchFields {
  readonly hidden_size: number
  readonly num_hidden_layers: number
  readonly num_attention_heads: number
  /** The width of the feed-forward layer, in widths of the hidden states. */
  readonly mlp_ratio: number
  readonly hidden_act: string
  readonly hidden_dropout_prob: number
  readonly attention_probs_dropout_prob: number
  readonly initializer_range: number
  readonly layer_norm_eps: number
  readonly qkv_bias: boolean
  /** The first value of the factors on each sublayer's result. */
  readonly layerscale_value: number
  /** Whether the feed-forward network is gated. */
  readonly use_swiglu_ffn: boolean
  /** Whether there is an embedding for patches that are hidden in pretraining. */
  readonly use_mask_token: boolean
  /** The width of the feed-forward layer. */
  readonly intermediate_size: number
}

/** The configuration of DINOv2 (`model_type` "dinov2"). */
export interface Dinov2Config extends PretrainedConfig, Dinov2Fields {
  readonly model_type: 'dinov2'
}

/** Reads a DINOv2 configuration; absent keys are those of dinov2-base. */
export function parseDinov2Config(reader: ConfigReader): Dinov2Fields {
  const hidden_size = reader.integer('hidden_size', 768)
  const num_attention_heads = reader.integer('num_attention_heads', 12)
  const mlp_ratio = reader.real('mlp_ratio', 4, { min: 0 })
  reader.divisible('hidden_size', hidden_size, 'num_attention_heads', num_attention_heads)
  if (reader.number('drop_path_rate', 0, { min: 0, max: 1 }) > 0) {
    reader.warnings.push('"drop_path_rate" is not computed: no path is left out in training.')
  }
  return {
    ...readPatches(reader, { image_size: 224, patch_size: 14 }),
    hidden_size,
    num_hidden_layers: reader.integer('num_hidden_layers', 12),
    num_attention_heads,
    mlp_ratio,
    hidden_act: reader.activation('hidden_act', 'gelu'),
    hidden_dropout_prob: reader.probability('hidden_dropout_prob', 0),
    attention_probs_dropout_prob: reader.probability('attention_probs_dropout_prob', 0),
    initializer_range: reader.number('initializer_range', 0.02, { min: 0 }),
    layer_norm_eps: reader.number('layer_norm_eps', 1e-6, { min: 0 }),
    qkv_bias: reader.boolean('qkv_bias', true),
    layerscale_value: reader.number('layerscale_value', 1),
    use_swiglu_ffn: reader.boolean('use_swiglu_ffn', false),
    use_mask_token: reader.boolean('use_mask_token', true),
    intermediate_size: Math.trunc(hidden_size * mlp_ratio),
  }
}
