/** @file What the configurations of Llama and the decoders after it share. */
import type { ConfigReader } from './reader.ts'
import { type RopeParameters, readRopeParameters } from './rope.ts'
import { readTokenIds, type TokenIds } from './tokens.ts'

/** The fields of a decoder with rotary positions, grouped key-value heads and a gated feed-forward layer. */
export interface DecoderFields extends TokenIds {
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
  readonly attention_dropout: number
}

/** What an architecture assumes where a configuration says nothing. */
export interface DecoderDefaults extends TokenIds {
  readonly vocab_size: number
  readonly intermediate_size: number
  readonly max_position_embeddings: number
  /** Heads of keys and values; `null` for as many as query heads. */
  readonly num_key_value_heads: number | null
}

/** Reads the shared fields. Throws where sizes do not fit together, naming file and key. */
export function readDecoder(reader: ConfigReader, defaults: DecoderDefaults): DecoderFields {
  const vocab_size = reader.integer('vocab_size', defaults.vocab_size)
  const hidden_size = reader.integer('hidden_size', 4096)
  const num_attention_heads = reader.integer('num_attention_heads', 32)
  const max_position_embeddings = reader.integer('max_position_embeddings', defaults.max_position_embeddings)
  const num_key_value_heads =
    reader.optionalInteger('num_key_value_heads', defaults.num_key_value_heads) ?? num_attention_heads
  const head_dim = reader.optionalInteger('head_dim', null)
  if (head_dim === null) reader.divisible('hidden_size', hidden_size, 'num_attention_heads', num_attention_heads)
  reader.divisible('num_attention_heads', num_attention_heads, 'num_key_value_heads', num_key_value_heads)
  const { pad_token_id, bos_token_id, eos_token_id } = defaults
  return {
    ...readTokenIds(reader, { pad_token_id, bos_token_id, eos_token_id }, vocab_size),
    vocab_size,
    tie_word_embeddings: reader.boolean('tie_word_embeddings', false),
    hidden_size,
    intermediate_size: reader.integer('intermediate_size', defaults.intermediate_size),
    num_hidden_layers: reader.integer('num_hidden_layers', 32),
    num_attention_heads,
    num_key_value_heads,
    head_dim: head_dim ?? hidden_size / num_attention_heads,
    hidden_act: reader.activation('hidden_act', 'silu'),
    max_position_embeddings,
    initializer_range: reader.number('initializer_range', 0.02, { min: 0 }),
    rms_norm_eps: reader.number('rms_norm_eps', 1e-6, { min: 0 }),
    use_cache: reader.boolean('use_cache', true),
    rope_parameters: readRopeParameters(reader, max_position_embeddings),
    attention_dropout: reader.optionalNumber('attention_dropout', 0, { min: 0, max: 1 }) ?? 0,
  }
}
