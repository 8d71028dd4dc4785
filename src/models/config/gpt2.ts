/** @file The configuration of GPT-2. */
import type { PretrainedConfig } from './pretrained.ts'
import type { ConfigReader } from './reader.ts'
import { readTokenIds, type TokenIds } from './tokens.ts'

interface Gpt2Fields extends TokenIds {
  readonly vocab_size: number
  /** Whether the output layer is the embedding matrix. */
  readonly tie_word_embeddings: boolean
  /** Longest sequence, in tokens. */
  readonly n_positions: number
  /** Width of the hidden states. */
  readonly n_embd: number
  /** Number of blocks. */
  readonly n_layer: number
  /** Number of attention heads. */
  readonly n_head: number
  /** Width of the feed-forward layer; `null` means four times `n_embd`. */
  readonly n_inner: number | null
  readonly activation_function: string
  readonly resid_pdrop: number
  readonly embd_pdrop: number
  readonly attn_pdrop: number
  readonly layer_norm_epsilon: number
  readonly initializer_range: number
  readonly summary_type: string
  readonly summary_use_proj: boolean
  readonly summary_activation: string | null
  readonly summary_proj_to_labels: boolean
  readonly summary_first_dropout: number
  /** Whether scores are divided by the root of the head's width. */
  readonly scale_attn_weights: boolean
  readonly use_cache: boolean
  /** Whether scores are also divided by the layer's number, counted from one. */
  readonly scale_attn_by_inverse_layer_idx: boolean
  readonly reorder_and_upcast_attn: boolean
  readonly add_cross_attention: boolean
}

/** The names that other architectures use, and GPT-2's own. */
export const GPT2_ATTRIBUTE_MAP = {
  hidden_size: 'n_embd',
  max_position_embeddings: 'n_positions',
  num_attention_heads: 'n_head',
  num_hidden_layers: 'n_layer',
} as const

/** The configuration of GPT-2 (`model_type` "gpt2"). */
export interface Gpt2Config extends PretrainedConfig, Gpt2Fields {
  readonly model_type: 'gpt2'
  /** The same as `n_embd`. */
  readonly hidden_size: number
  /** The same as `n_positions`. */
  readonly max_position_embeddings: number
  /** The same as `n_head`. */
  readonly num_attention_heads: number
  /** The same as `n_layer`. */
  readonly num_hidden_layers: number
}

/** Reads a GPT-2 configuration; absent keys are those of the smallest GPT-2. */
export function parseGpt2Config(reader: ConfigReader): Gpt2Fields {
  const vocab_size = reader.integer('vocab_size', 50257)
  const fields = {
    ...readTokenIds(reader, { pad_token_id: null, bos_token_id: 50256, eos_token_id: 50256 }, vocab_size),
    vocab_size,
    tie_word_embeddings: reader.boolean('tie_word_embeddings', true),
    n_positions: reader.integer('n_positions', 1024),
    n_embd: reader.integer('n_embd', 768),
    n_layer: reader.integer('n_layer', 12),
    n_head: reader.integer('n_head', 12),
    n_inner: reader.optionalInteger('n_inner', null),
    activation_function: reader.activation('activation_function', 'gelu_new'),
    resid_pdrop: reader.probability('resid_pdrop', 0.1),
    embd_pdrop: reader.probability('embd_pdrop', 0.1),
    attn_pdrop: reader.probability('attn_pdrop', 0.1),
    layer_norm_epsilon: reader.number('layer_norm_epsilon', 1e-5, { min: 0 }),
    initializer_range: reader.number('initializer_range', 0.02, { min: 0 }),
    summary_type: reader.choice('summary_type', 'cls_index', ['last', 'first', 'mean', 'cls_index', 'attn']),
    summary_use_proj: reader.boolean('summary_use_proj', true),
    summary_activation: reader.optionalString('summary_activation'),
    summary_proj_to_labels: reader.boolean('summary_proj_to_labels', true),
    summary_first_dropout: reader.probability('summary_first_dropout', 0.1),
    scale_attn_weights: reader.boolean('scale_attn_weights', true),
    use_cache: reader.boolean('use_cache', true),
    scale_attn_by_inverse_layer_idx: reader.boolean('scale_attn_by_inverse_layer_idx', false),
    reorder_and_upcast_attn: reader.boolean('reorder_and_upcast_attn', false),
    add_cross_attention: reader.boolean('add_cross_attention', false),
  }
  reader.divisible('n_embd', fields.n_embd, 'n_head', fields.n_head)
  return fields
}
