/** @file The configuration of BLOOM. */
import type { PretrainedConfig } from './pretrained.ts'
import type { ConfigReader } from './reader.ts'
import { readTokenIds, type TokenIds } from './tokens.ts'

interface BloomFields extends TokenIds {
  readonly vocab_size: number
  readonly tie_word_embeddings: boolean
  readonly hidden_size: number
  /** Number of layers. */
  readonly n_layer: number
  /** Number of attention heads. */
  readonly n_head: number
  readonly layer_norm_epsilon: number
  readonly initializer_range: number
  readonly use_cache: boolean
  /** Whether sublayers are added to their normalised input. */
  readonly apply_residual_connection_post_layernorm: boolean
  readonly hidden_dropout: number
  readonly attention_dropout: number
}

/** The names that other architectures use, and BLOOM's own. */
export const BLOOM_ATTRIBUTE_MAP = {
  num_hidden_layers: 'n_layer',
  num_attention_heads: 'n_head',
  n_embed: 'hidden_size',
} as const

/** The configuration of BLOOM (`model_type` "bloom"). */
export interface BloomConfig extends PretrainedConfig, BloomFields {
  readonly model_type: 'bloom'
  /** The same as `n_layer`. */
  readonly num_hidden_layers: number
  /** The same as `n_head`. */
  readonly num_attention_heads: number
}

/** Reads a BLOOM configuration; absent keys are those of Transformers. */
export function parseBloomConfig(reader: ConfigReader): BloomFields {
  const vocab_size = reader.integer('vocab_size', 250880)
  const fields = {
    ...readTokenIds(reader, { pad_token_id: null, bos_token_id: 1, eos_token_id: 2 }, vocab_size),
    vocab_size,
    tie_word_embeddings: reader.boolean('tie_word_embeddings', true),
    hidden_size: reader.integer('hidden_size', 64),
    n_layer: reader.integer('n_layer', 2),
    n_head: reader.integer('n_head', 8),
    layer_norm_epsilon: reader.number('layer_norm_epsilon', 1e-5, { min: 0 }),
    initializer_range: reader.number('initializer_range', 0.02, { min: 0 }),
    use_cache: reader.boolean('use_cache', true),
    apply_residual_connection_post_layernorm: reader.boolean('apply_residual_connection_post_layernorm', false),
    hidden_dropout: reader.probability('hidden_dropout', 0),
    attention_dropout: reader.probability('attention_dropout', 0),
  }
  reader.divisible('hidden_size', fields.hidden_size, 'n_head', fields.n_head)
  return fields
}
