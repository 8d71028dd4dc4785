/** @file The configurations of Phi and Phi-3. */
import { type DecoderFields, readDecoder } from './decoder.ts'
import type { PretrainedConfig } from './pretrained.ts'
import { ConfigReader } from './reader.ts'
import { type RopeParameters, readPartialRope } from './rope.ts'
import { readTokenIds, type TokenIds } from './tokens.ts'

interface PhiFields extends TokenIds {
  readonly vocab_size: number
  readonly tie_word_embeddings: boolean
  readonly hidden_size: number
  readonly intermediate_size: number
  readonly num_hidden_layers: number
  readonly num_attention_heads: number
  readonly num_key_value_heads: number
  readonly resid_pdrop: number
  readonly embd_pdrop: number
  readonly attention_dropout: number
  readonly hidden_act: string
  readonly max_position_embeddings: number
  readonly initializer_range: number
  readonly layer_norm_eps: number
  readonly use_cache: boolean
  readonly rope_parameters: RopeParameters
  /** Whether the heads of queries and keys are normalised. */
  readonly qk_layernorm: boolean
}

/** The configuration of Phi (`model_type` "phi"). */
export interface PhiConfig extends PretrainedConfig, PhiFields {
  readonly model_type: 'phi'
}

interface Phi3Fields extends DecoderFields {
  readonly resid_pdrop: number
  readonly embd_pdrop: number
  /** The sequence length of pretraining, in tokens. */
  readonly original_max_position_embeddings: number
  /** How far back every layer sees, in tokens; `null` for all. */
  readonly sliding_window: number | null
}

/** The configuration of Phi-3 (`model_type` "phi3"). */
export interface Phi3Config extends PretrainedConfig, Phi3Fields {
  readonly model_type: 'phi3'
}

/** Reads a Phi configuration; absent keys are those of Phi-1. */
export function parsePhiConfig(reader: ConfigReader): PhiFields {
  const vocab_size = reader.integer('vocab_size', 51200)
  const hidden_size = reader.integer('hidden_size', 2048)
  const heads = reader.integer('num_attention_heads', 32)
  const kvHeads = reader.optionalInteger('num_key_value_heads', null) ?? heads
  const max_position_embeddings = reader.integer('max_position_embeddings', 2048)
  reader.divisible('hidden_size', hidden_size, 'num_attention_heads', heads)
  reader.divisible('num_attention_heads', heads, 'num_key_value_heads', kvHeads)
  return {
    ...readTokenIds(reader, { pad_token_id: null, bos_token_id: 1, eos_token_id: 2 }, vocab_size),
    vocab_size,
    tie_word_embeddings: reader.boolean('tie_word_embeddings', false),
    hidden_size,
    intermediate_size: reader.integer('intermediate_size', 8192),
    num_hidden_layers: reader.integer('num_hidden_layers', 24),
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    resid_pdrop: reader.probability('resid_pdrop', 0),
    embd_pdrop: reader.probability('embd_pdrop', 0),
    attention_dropout: reader.optionalNumber('attention_dropout', 0, { min: 0, max: 1 }) ?? 0,
    hidden_act: reader.activation('hidden_act', 'gelu_new'),
    max_position_embeddings,
    initializer_range: reader.number('initializer_range', 0.02, { min: 0 }),
    layer_norm_eps: reader.number('layer_norm_eps', 1e-5, { min: 0 }),
    use_cache: reader.boolean('use_cache', true),
    rope_parameters: readPartialRope(reader, max_position_embeddings, { share: 0.5 }),
    qk_layernorm: reader.boolean('qk_layernorm', false),
  }
}

/** Reads a Phi-3 configuration; absent keys are those of Phi-3-mini. */
export function parsePhi3Config(reader: ConfigReader): Phi3Fields {
  const original = reader.integer('original_max_position_embeddings', 4096)
  const shared = readDecoder(reader, {
    pad_token_id: 32000,
    bos_token_id: 1,
    eos_token_id: 32000,
    vocab_size: 32064,
    hidden_size: 3072,
    intermediate_size: 8192,
    max_position_embeddings: 4096,
    num_key_value_heads: null,
    rms_norm_eps: 1e-5,
    readRope: () => readPhi3Rope(reader, original),
  })
  return {
    ...shared,
    resid_pdrop: reader.probability('resid_pdrop', 0),
    embd_pdrop: reader.probability('embd_pdrop', 0),
    original_max_position_embeddings: original,
    sliding_window: reader.optionalInteger('sliding_window', null),
  }
}

/** The first publications call their way of stretching "su" or "yarn" and mean LongRoPE. */
function readPhi3Rope(reader: ConfigReader, original: number): RopeParameters {
  const scaling = reader.optionalObject('rope_scaling')
  const type = scaling?.type ?? scaling?.rope_type
  const renamed = type === 'su' || type === 'yarn' ? { ...scaling, type: 'longrope', rope_type: 'longrope' } : scaling
  const own = new ConfigReader({ ...reader.json, ...(scaling && { rope_scaling: renamed }) }, reader.label)
  const parameters = readPartialRope(own, original, { share: 1 })
  for (const key of ['rope_parameters', 'rope_theta', 'partial_rotary_factor']) reader.keys.add(key)
  for (const key of own.floatKeys) reader.floatKeys.add(key)
  return parameters
}
