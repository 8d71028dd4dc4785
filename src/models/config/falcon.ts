/** @file The configuration of Falcon. */
import type { PretrainedConfig } from './pretrained.ts'
import type { ConfigReader } from './reader.ts'
import { type RopeParameters, readRopeParameters } from './rope.ts'
import { readTokenIds, type TokenIds } from './tokens.ts'

interface FalconFields extends TokenIds {
  readonly vocab_size: number
  readonly tie_word_embeddings: boolean
  readonly hidden_size: number
  readonly num_hidden_layers: number
  readonly num_attention_heads: number
  /** Heads of keys and values that are stored. */
  readonly num_key_value_heads: number
  /** The normalisations in front of parallel sublayers: one for both, or one each. */
  readonly num_ln_in_parallel_attn: number
  readonly layer_norm_epsilon: number
  readonly initializer_range: number
  readonly use_cache: boolean
  readonly hidden_dropout: number
  readonly attention_dropout: number
  readonly new_decoder_architecture: boolean
  /** Whether attention and feed-forward network read the same input. */
  readonly parallel_attn: boolean
  /** Whether dense layers have a bias. */
  readonly bias: boolean
  readonly max_position_embeddings: number
  readonly rope_parameters: RopeParameters
  /** Width of the feed-forward layer. */
  readonly ffn_hidden_size: number
  readonly activation: string
}

/** The configuration of Falcon (`model_type` "falcon"). */
export interface FalconConfig extends PretrainedConfig, FalconFields {
  readonly model_type: 'falcon'
}

/** Reads a Falcon configuration; absent keys are those of Falcon 7B. */
export function parseFalconConfig(reader: ConfigReader): FalconFields {
  const vocab_size = reader.integer('vocab_size', 65024)
  const hidden_size = reader.integer('hidden_size', 4544)
  const heads = reader.integer('num_attention_heads', 71)
  const max_position_embeddings = reader.integer('max_position_embeddings', 2048)
  const isNew = reader.boolean('new_decoder_architecture', false)
  const isParallel = reader.boolean('parallel_attn', true)
  const kvHeads = reader.optionalInteger('num_kv_heads', null) ?? heads
  const isMultiQuery = reader.boolean('multi_query', true)
  if (reader.boolean('alibi', false)) {
    reader.fail('alibi', 'false', 'Falcon with linear biases in place of rotary positions (falcon-rw) is not computed.')
  }
  reader.divisible('hidden_size', hidden_size, 'num_attention_heads', heads)
  const num_key_value_heads = isNew ? kvHeads : isMultiQuery ? 1 : heads
  reader.divisible('num_attention_heads', heads, 'num_kv_heads', num_key_value_heads)
  return {
    ...readTokenIds(reader, { pad_token_id: null, bos_token_id: 11, eos_token_id: 11 }, vocab_size),
    vocab_size,
    tie_word_embeddings: reader.boolean('tie_word_embeddings', true),
    hidden_size,
    num_hidden_layers: reader.integer('num_hidden_layers', 32),
    num_attention_heads: heads,
    num_key_value_heads,
    num_ln_in_parallel_attn: reader.optionalInteger('num_ln_in_parallel_attn', null, { max: 2 }) ?? (isNew ? 2 : 1),
    layer_norm_epsilon: reader.number('layer_norm_epsilon', 1e-5, { min: 0 }),
    initializer_range: reader.number('initializer_range', 0.02, { min: 0 }),
    use_cache: reader.boolean('use_cache', true),
    hidden_dropout: reader.probability('hidden_dropout', 0),
    attention_dropout: reader.probability('attention_dropout', 0),
    new_decoder_architecture: isNew,
    parallel_attn: isParallel,
    bias: reader.boolean('bias', false),
    max_position_embeddings,
    rope_parameters: readRopeParameters(reader, max_position_embeddings),
    ffn_hidden_size: reader.optionalInteger('ffn_hidden_size', null) ?? 4 * hidden_size,
    activation: reader.activation('activation', 'gelu'),
  }
}
