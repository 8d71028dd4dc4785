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
  /** 4096 unless told. */
  readonly hidden_size?: number
  /** 32 unless told. */
  readonly num_hidden_layers?: number
  /** 32 unless told. */
  readonly num_attention_heads?: number
  /** `hidden_size / num_attention_heads` unless told. */
  readonly head_dim?: number
  /** 1e-6 unless told. */
  readonly rms_norm_eps?: number
  /** The base of the rotary frequencies; 10000 unless told. */
  readonly rope_theta?: number
  /** Reads the rotary positions; {@link readRopeParameters} unless told. */
  readonly readRope?: typeof readRopeParameters
  /** false unless told. */
  readonly tie_word_embeddings?: boolean
  /** The key of the activation and its value; `hidden_act` and `silu` unless told. */
  readonly activation?: readonly [key: string, name: 'silu' | 'gelu_pytorch_tanh']
}

/** Reads the shared fields. Throws where sizes do not fit together, naming file and key. */
export function readDecoder(reader: ConfigReader, defaults: DecoderDefaults): DecoderFields {
  const vocab_size = reader.integer('vocab_size', defaults.vocab_size)
  const hidden_size = reader.integer('hidden_size', defaults.hidden_size ?? 4096)
  const num_attention_heads = reader.integer('num_attention_heads', defaults.num_attention_heads ?? 32)
  const max_position_embeddings = reader.integer('max_position_embeddings', defaults.max_position_embeddings)
  const num_key_value_heads =
    reader.optionalInteger('num_key_value_heads', defaults.num_key_value_heads) ?? num_attention_heads
  const head_dim = reader.optionalInteger('head_dim', defaults.head_dim ?? null)
  if (head_dim === null) reader.divisible('hidden_size', hidden_size, 'num_attention_heads', num_attention_heads)
  reader.divisible('num_attention_heads', num_attention_heads, 'num_key_value_heads', num_key_value_heads)
  const { pad_token_id, bos_token_id, eos_token_id } = defaults
  return {
    ...readTokenIds(reader, { pad_token_id, bos_token_id, eos_token_id }, vocab_size),
    vocab_size,
    tie_word_embeddings: reader.boolean('tie_word_embeddings', defaults.tie_word_embeddings ?? false),
    hidden_size,
    intermediate_size: reader.integer('intermediate_size', defaults.intermediate_size),
    num_hidden_layers: reader.integer('num_hidden_layers', defaults.num_hidden_layers ?? 32),
    num_attention_heads,
    num_key_value_heads,
    head_dim: head_dim ?? hidden_size / num_attention_heads,
    hidden_act: reader.activation(...(defaults.activation ?? (['hidden_act', 'silu'] as const))),
    max_position_embeddings,
    initializer_range: reader.number('initializer_range', 0.02, { min: 0 }),
    rms_norm_eps: reader.number('rms_norm_eps', defaults.rms_norm_eps ?? 1e-6, { min: 0 }),
    use_cache: reader.boolean('use_cache', true),
    rope_parameters: (defaults.readRope ?? readRopeParameters)(reader, max_position_embeddings, defaults.rope_theta),
    attention_dropout: reader.optionalNumber('attention_dropout', 0, { min: 0, max: 1 }) ?? 0,
  }
}

const LAYER_TYPES = ['full_attention', 'sliding_attention'] as const

/** The kind of attention of one layer. */
export type LayerType = (typeof LAYER_TYPES)[number]

/** Reads `layer_types`, the kind of attention of each layer; where the file has none, `slides` tells which layers slide. */
export function readLayerTypes(
  reader: ConfigReader,
  layers: number,
  slides: (layer: number) => boolean,
): readonly LayerType[] {
  const given = reader.optionalStrings('layer_types')
  if (!given) return Array.from({ length: layers }, (_, i) => (slides(i) ? 'sliding_attention' : 'full_attention'))
  if (given.length !== layers) {
    reader.fail('layer_types', `${layers} entries, one a layer ("num_hidden_layers"), and has ${given.length}`)
  }
  if (!given.every(type => (LAYER_TYPES as readonly string[]).includes(type))) {
    reader.fail('layer_types', `entries among ${LAYER_TYPES.join(', ')}`)
  }
  return given as LayerType[]
}
