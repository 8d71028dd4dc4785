/** @file The configuration of Llama. */
import type { PretrainedConfig } from './pretrained.ts'
import type { ConfigReader } from './reader.ts'
import { type RopeParameters, readRopeParameters } from './rope.ts'
import { readTokenIds, type TokenIds } from './tokens.ts'

interface LlamaFields extends TokenIds {
  readonly vocab_size: number
  /** Whether the output layer is the embedding matrix. */
  readonly tie_word_embeddings: boolean
  readonly hidden_size: number
  readonly intermediate_size: number
  readonly num_hidden_layers: number
  readonly num_attention_heads: number
  /** Heads of keys and values, each shared by `num_attention_heads / num_key_value_heads` query heads. */
  readonly num_key_value_heads: number
  /** Width of one head; not always `hidden_size / num_attention_heads`. */
  readonly head_dim: number
  /** Activation of the gated feed-forward layer. */
  readonly hidden_act: string
  /** Longest sequence, in tokens. */
  readonly max_position_embeddings: number
  readonly initializer_range: number
  readonly rms_norm_eps: number
  readonly use_cache: boolean
  readonly rope_parameters: RopeParameters
  /** Whether the projections of the attention have a bias. */
  readonly attention_bias: boolean
  readonly attention_dropout: number
  /** Whether the projections of the feed-forward layer have a bias. */
  readonly mlp_bias: boolean
}

/** The configuration of Llama (`model_type` "llama"). */
export interface LlamaConfig extends PretrainedConfig, LlamaFields {
  readonly model_type: 'llama'
}

/** Reads a Llama configuration; absent keys are those of Llama 2 7B. */
export function parseLlamaConfig(reader: ConfigReader): LlamaFields {
  const vocab_size = reader.integer('vocab_size', 32000)
  const hidden_size = reader.integer('hidden_size', 4096)
  const num_attention_heads = reader.integer('num_attention_heads', 32)
  const max_position_embeddings = reader.integer('max_position_embeddings', 2048)
  const num_key_value_heads = reader.optionalInteger('num_key_value_heads', null) ?? num_attention_heads
  reader.divisible('hidden_size', hidden_size, 'num_attention_heads', num_attention_heads)
  reader.divisible('num_attention_heads', num_attention_heads, 'num_key_value_heads', num_key_value_heads)
  return {
    ...readTokenIds(reader, { pad_token_id: null, bos_token_id: 1, eos_token_id: 2 }, vocab_size),
    vocab_size,
    tie_word_embeddings: reader.boolean('tie_word_embeddings', false),
    hidden_size,
    intermediate_size: reader.integer('intermediate_size', 11008),
    num_hidden_layers: reader.integer('num_hidden_layers', 32),
    num_attention_heads,
    num_key_value_heads,
    head_dim: reader.optionalInteger('head_dim', null) ?? hidden_size / num_attention_heads,
    hidden_act: reader.activation('hidden_act', 'silu'),
    max_position_embeddings,
    initializer_range: reader.number('initializer_range', 0.02, { min: 0, max: 1 }),
    rms_norm_eps: reader.number('rms_norm_eps', 1e-6, { min: 0 }),
    use_cache: reader.boolean('use_cache', true),
    rope_parameters: readRopeParameters(reader, max_position_embeddings),
    attention_bias: reader.boolean('attention_bias', false),
    attention_dropout: reader.optionalNumber('attention_dropout', 0, { min: 0, max: 1 }) ?? 0,
    mlp_bias: reader.boolean('mlp_bias', false),
  }
}
