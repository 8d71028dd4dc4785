/** @file The configuration of OPT. */
import type { PretrainedConfig } from './pretrained.ts'
import type { ConfigReader } from './reader.ts'
import { readTokenIds, type TokenIds } from './tokens.ts'

interface OPTFields extends TokenIds {
  readonly vocab_size: number
  readonly tie_word_embeddings: boolean
  readonly hidden_size: number
  readonly num_hidden_layers: number
  readonly num_attention_heads: number
  /** Width of the feed-forward layer. */
  readonly ffn_dim: number
  readonly max_position_embeddings: number
  /** Whether normalisations stand in front of the sublayers or behind them. */
  readonly do_layer_norm_before: boolean
  /** Whether the decoder ends with a normalisation. */
  readonly has_final_layer_norm: boolean
  /** Width of the embeddings. */
  readonly word_embed_proj_dim: number
  readonly dropout: number
  readonly attention_dropout: number
  readonly activation_function: string
  /** The deviation of first values. */
  readonly init_std: number
  readonly use_cache: boolean
  /** Whether dense layers have a bias. */
  readonly enable_bias: boolean
}

/** The common name of the deviation of first values, and OPT's own. */
export const OPT_ATTRIBUTE_MAP = { initializer_range: 'init_std' } as const

/** The configuration of OPT (`model_type` "opt"). */
export interface OPTConfig extends PretrainedConfig, OPTFields {
  readonly model_type: 'opt'
  /** The same as `init_std`. */
  readonly initializer_range: number
}

/** Reads an OPT configuration; absent keys are those of OPT 125M. */
export function parseOPTConfig(reader: ConfigReader): OPTFields {
  const vocab_size = reader.integer('vocab_size', 50272)
  const hidden_size = reader.integer('hidden_size', 768)
  const num_attention_heads = reader.integer('num_attention_heads', 12)
  const do_layer_norm_before = reader.boolean('do_layer_norm_before', true)
  reader.divisible('hidden_size', hidden_size, 'num_attention_heads', num_attention_heads)
  if (!reader.boolean('layer_norm_elementwise_affine', true)) {
    reader.fail('layer_norm_elementwise_affine', 'true', 'Normalisations without parameters are not computed here.')
  }
  if (reader.number('layerdrop', 0, { min: 0 }) > 0) {
    reader.fail('layerdrop', '0', 'Leaving out layers at random is not computed.')
  }
  return {
    ...readTokenIds(reader, { pad_token_id: 1, bos_token_id: 2, eos_token_id: 2 }, vocab_size),
    vocab_size,
    tie_word_embeddings: reader.boolean('tie_word_embeddings', true),
    hidden_size,
    num_hidden_layers: reader.integer('num_hidden_layers', 12),
    num_attention_heads,
    ffn_dim: reader.integer('ffn_dim', 3072),
    max_position_embeddings: reader.integer('max_position_embeddings', 2048),
    do_layer_norm_before,
    has_final_layer_norm: do_layer_norm_before && !reader.boolean('_remove_final_layer_norm', false),
    word_embed_proj_dim: reader.optionalInteger('word_embed_proj_dim', null) ?? hidden_size,
    dropout: reader.probability('dropout', 0.1),
    attention_dropout: reader.probability('attention_dropout', 0),
    activation_function: reader.activation('activation_function', 'relu'),
    init_std: reader.number('init_std', 0.02, { min: 0 }),
    use_cache: reader.boolean('use_cache', true),
    enable_bias: reader.boolean('enable_bias', true),
  }
}
