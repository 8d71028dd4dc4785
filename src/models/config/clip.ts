/** @file The configurations of CLIP and of its two towers. */
import { createConfig, type PretrainedConfig } from './pretrained.ts'
import type { ConfigReader } from './reader.ts'
import { readTokenIds, type TokenIds } from './tokens.ts'
import { type PatchFields, readPatches } from './vision.ts'

/** What the configurations of both towers say. */
export interface CLIPTowerFields {
  readonly hidden_size: number
  readonly intermediate_size: number
  /** Width of what a text and an image are compared by. */
  readonly projection_dim: number
  readonly num_hidden_layers: number
  readonly num_attention_heads: number
  readonly hidden_act: string
  readonly layer_norm_eps: number
  readonly attention_dropout: number
  readonly initializer_range: number
  readonly initializer_factor: number
}

interface CLIPTextFields extends CLIPTowerFields, TokenIds {
  readonly vocab_size: number
  /** Longest text, in tokens. */
  readonly max_position_embeddings: number
}

interface CLIPVisionFields extends CLIPTowerFields, PatchFields {}

/** The configuration of the tower of texts (`model_type` "clip_text_model"). */
export interface CLIPTextConfig extends PretrainedConfig, CLIPTextFields {
  readonly model_type: 'clip_text_model'
}

/** The configuration of the tower of images (`model_type` "clip_vision_model"). */
export interface CLIPVisionConfig extends PretrainedConfig, CLIPVisionFields {
  readonly model_type: 'clip_vision_model'
}

interface CLIPFields {
  readonly text_config: CLIPTextConfig
  readonly vision_config: CLIPVisionConfig
  readonly projection_dim: number
  /** The first value of the logarithm of the factor on the similarities. */
  readonly logit_scale_init_value: number
  readonly initializer_factor: number
  /** Width of the tower of texts. */
  readonly hidden_size: number
  readonly initializer_range: number
}

/** The configuration of CLIP (`model_type` "clip"). */
export interface CLIPConfig extends PretrainedConfig, CLIPFields {
  readonly model_type: 'clip'
}

/** Reads a CLIP configuration; absent keys are those of clip-vit-base-patch32. */
export function parseCLIPConfig(reader: ConfigReader): CLIPFields {
  const text_config = readTower(reader, 'text') as CLIPTextConfig
  return {
    text_config,
    vision_config: readTower(reader, 'vision') as CLIPVisionConfig,
    projection_dim: reader.integer('projection_dim', 512),
    logit_scale_init_value: reader.number('logit_scale_init_value', 2.6592),
    initializer_factor: reader.number('initializer_factor', 1, { min: 0 }),
    hidden_size: text_config.hidden_size,
    initializer_range: text_config.initializer_range,
  }
}

/** Reads the configuration of the tower of texts by itself. */
export function parseCLIPTextConfig(reader: ConfigReader): CLIPTextFields {
  const vocab_size = reader.integer('vocab_size', 49408)
  return {
    ...readTokenIds(reader, { pad_token_id: 1, bos_token_id: 49406, eos_token_id: 49407 }),
    ...readTowerFields(reader, { hidden: 512, inner: 2048, heads: 8 }),
    vocab_size,
    max_position_embeddings: reader.integer('max_position_embeddings', 77),
  }
}

/** Reads the configuration of the tower of images by itself. */
export function parseCLIPVisionConfig(reader: ConfigReader): CLIPVisionFields {
  return {
    ...readTowerFields(reader, { hidden: 768, inner: 3072, heads: 12 }),
    ...readPatches(reader, { image_size: 224, patch_size: 32 }),
  }
}

function readTowerFields(
  reader: ConfigReader,
  defaults: { hidden: number; inner: number; heads: number },
): CLIPTowerFields {
  const hidden_size = reader.integer('hidden_size', defaults.hidden)
  const num_attention_heads = reader.integer('num_attention_heads', defaults.heads)
  reader.divisible('hidden_size', hidden_size, 'num_attention_heads', num_attention_heads)
  return {
    hidden_size,
    intermediate_size: reader.integer('intermediate_size', defaults.inner),
    projection_dim: reader.integer('projection_dim', 512),
    num_hidden_layers: reader.integer('num_hidden_layers', 12),
    num_attention_heads,
    hidden_act: reader.activation('hidden_act', 'quick_gelu'),
    layer_norm_eps: reader.number('layer_norm_eps', 1e-5, { min: 0 }),
    attention_dropout: reader.probability('attention_dropout', 0),
    initializer_range: reader.number('initializer_range', 0.02, { min: 0 }),
    initializer_factor: reader.number('initializer_factor', 1, { min: 0 }),
  }
}

/** One tower of a CLIP; the first publications repeat its values under `text_config_dict`, which counts more. */
function readTower(reader: ConfigReader, tower: 'text' | 'vision'): PretrainedConfig {
  const key = `${tower}_config`
  const values = { ...reader.optionalObject(key), ...reader.optionalObject(`${key}_dict`) }
  const config = createConfig({ ...values, model_type: `clip_${tower}_model` }, `${reader.label} (${key})`)
  reader.warnings.push(...config.warnings)
  return config
}
