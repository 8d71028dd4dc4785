/** @file The configuration of T5. */
import type { PretrainedConfig } from './pretrained.ts'
import { ACTIVATIONS, type ConfigReader } from './reader.ts'
import { readSeq2SeqTokenIds, type Seq2SeqTokenIds } from './seq2seq.ts'

/** The fields of T5 and its kin. */
export interface T5Fields extends Seq2SeqTokenIds {
  readonly vocab_size: number
  /** Whether the output layer is the embedding matrix. */
  readonly tie_word_embeddings: boolean
  /** Whether the decoder's result is divided by the root of its width before the output layer. */
  readonly scale_decoder_outputs: boolean
  /** Width of the hidden states. */
  readonly d_model: number
  /** Width of one head; not always `d_model / num_heads`. */
  readonly d_kv: number
  /** Width of the feed-forward layers. */
  readonly d_ff: number
  /** Blocks of the encoder. */
  readonly num_layers: number
  readonly num_decoder_layers: number
  readonly num_heads: number
  /** How many classes of distances there are, each with a bias on the scores. */
  readonly relative_attention_num_buckets: number
  /** The distance from which all belong to the last class. */
  readonly relative_attention_max_distance: number
  readonly dropout_rate: number
  readonly layer_norm_epsilon: number
  readonly initializer_factor: number
  /** As files have it: the activation, with `gated-` before it where the feed-forward layer is gated. */
  readonly feed_forward_proj: string
  /** The activation of the feed-forward layer. */
  readonly dense_act_fn: string
  readonly is_gated_act: boolean
  readonly is_encoder_decoder: boolean
  readonly use_cache: boolean
}

/** Common names, and those of T5. */
export const T5_ATTRIBUTE_MAP = {
  hidden_size: 'd_model',
  head_dim: 'd_kv',
  intermediate_size: 'd_ff',
  num_attention_heads: 'num_heads',
  num_hidden_layers: 'num_layers',
  initializer_range: 'initializer_factor',
} as const

/** The configuration of T5, and with another `model_type` of its kin. */
export interface T5FamilyConfig extends PretrainedConfig, T5Fields {
  readonly is_encoder_decoder: boolean
  /** The same as `d_model`. */
  readonly hidden_size: number
  /** The same as `d_kv`. */
  readonly head_dim: number
  /** The same as `d_ff`. */
  readonly intermediate_size: number
  /** The same as `num_heads`. */
  readonly num_attention_heads: number
  /** The same as `num_layers`. */
  readonly num_hidden_layers: number
  /** The same as `initializer_factor`. */
  readonly initializer_range: number
}

/** The configuration of T5 (`model_type` "t5"), of its versions 1.1 and of Flan-T5. */
export interface T5Config extends T5FamilyConfig {
  readonly model_type: 't5'
}

/** What a member of the family assumes where a configuration says nothing. */
export interface T5Defaults {
  readonly vocab_size: number
  readonly d_ff: number
  readonly num_layers: number
  readonly num_heads: number
  readonly feed_forward_proj: string
  readonly decoder_start_token_id: number | null
}

/** Reads a T5 configuration; absent keys are those of t5-small. */
export function parseT5Config(reader: ConfigReader): T5Fields {
  const fields = readT5Fields(reader, {
    vocab_size: 32128,
    d_ff: 2048,
    num_layers: 6,
    num_heads: 8,
    feed_forward_proj: 'relu',
    decoder_start_token_id: null,
  })
  // The first T5 ties the output layer to the embeddings and scales; from version 1.1 on it does neither.
  return { ...fields, scale_decoder_outputs: reader.boolean('scale_decoder_outputs', fields.tie_word_embeddings) }
}

/** Reads the fields that the family shares. */
export function readT5Fields(reader: ConfigReader, defaults: T5Defaults): Omit<T5Fields, 'scale_decoder_outputs'> {
  const vocab_size = reader.integer('vocab_size', defaults.vocab_size)
  const num_layers = reader.integer('num_layers', defaults.num_layers)
  const { decoder_start_token_id } = defaults
  const forced = { forced_bos_token_id: null, forced_eos_token_id: null }
  const tokens = { pad_token_id: 0, bos_token_id: null, eos_token_id: 1, decoder_start_token_id, ...forced }
  return {
    ...readSeq2SeqTokenIds(reader, tokens, vocab_size),
    vocab_size,
    tie_word_embeddings: reader.boolean('tie_word_embeddings', true),
    d_model: reader.integer('d_model', 512),
    d_kv: reader.integer('d_kv', 64),
    d_ff: reader.integer('d_ff', defaults.d_ff),
    num_layers,
    num_decoder_layers: reader.optionalInteger('num_decoder_layers', null) ?? num_layers,
    num_heads: reader.integer('num_heads', defaults.num_heads),
    relative_attention_num_buckets: reader.integer('relative_attention_num_buckets', 32, { min: 4 }),
    relative_attention_max_distance: reader.integer('relative_attention_max_distance', 128),
    dropout_rate: reader.probability('dropout_rate', 0.1),
    layer_norm_epsilon: reader.number('layer_norm_epsilon', 1e-6, { min: 0 }),
    initializer_factor: reader.number('initializer_factor', 1, { min: 0 }),
    ...readFeedForward(reader, defaults.feed_forward_proj),
    is_encoder_decoder: reader.boolean('is_encoder_decoder', true),
    use_cache: reader.boolean('use_cache', true),
  }
}

function readFeedForward(reader: ConfigReader, fallback: string) {
  const names = ACTIVATIONS.flatMap(name => [name, `gated-${name}`])
  const feed_forward_proj = reader.choice('feed_forward_proj', fallback, names)
  const is_gated_act = feed_forward_proj.startsWith('gated-')
  const name = feed_forward_proj.replace(/^gated-/, '')
  // "gated-gelu" means the approximation by tanh.
  return { feed_forward_proj, is_gated_act, dense_act_fn: feed_forward_proj === 'gated-gelu' ? 'gelu_new' : name }
}
