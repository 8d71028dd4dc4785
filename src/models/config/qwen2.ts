/** @file The configuration of Qwen2 and Qwen2.5. */
import type { PretrainedConfig } from './pretrained.ts'
import type { ConfigReader } from './reader.ts'
import { type RopeParameters, readRopeParameters } from './rope.ts'
import { readTokenIds, type TokenIds } from './tokens.ts'

const LAYER_TYPES = ['full_attention', 'sliding_attention'] as const

interface Qwen2Fields extends TokenIds {
  readonly vocab_size: number
  /** Whether the output layer is the embedding matrix. */
  readonly tie_word_embeddings: boolean
  readonly hidden_size: number
  readonly intermediate_size: number
  readonly num_hidden_layers: number
  readonly num_attention_heads: number
  /** Heads of keys and values, each shared by `num_attention_heads / num_key_value_heads` query heads. */
  readonly num_key_value_heads: number
  /** Width of one head. */
  readonly head_dim: number
  /** Activation of the gated feed-forward layer. */
  readonly hidden_act: string
  /** Longest sequence, in tokens. */
  readonly max_position_embeddings: number
  readonly initializer_range: number
  readonly rms_norm_eps: number
  readonly use_cache: boolean
  readonly rope_parameters: RopeParameters
  readonly use_sliding_window: boolean
  /** How far back a sliding layer sees, in tokens; `null` unless `use_sliding_window`. */
  readonly sliding_window: number | null
  /** The first layer that slides. */
  readonly max_window_layers: number
  /** The kind of attention of each layer. */
  readonly layer_types: readonly (typeof LAYER_TYPES)[number][]
  readonly attention_dropout: number
}

/** The configuration of Qwen2 and Qwen2.5 (`model_type` "qwen2"). */
export interface Qwen2Config extends PretrainedConfig, Qwen2Fields {
  readonly model_type: 'qwen2'
}

/** Reads a Qwen2 configuration; absent keys are those of Transformers. */
export function parseQwen2Config(reader: ConfigReader): Qwen2Fields {
  const vocab_size = reader.integer('vocab_size', 151936)
  const hidden_size = reader.integer('hidden_size', 4096)
  const num_attention_heads = reader.integer('num_attention_heads', 32)
  const num_hidden_layers = reader.integer('num_hidden_layers', 32)
  const max_position_embeddings = reader.integer('max_position_embeddings', 32768)
  const num_key_value_heads = reader.optionalInteger('num_key_value_heads', 32) ?? num_attention_heads
  const head_dim = reader.optionalInteger('head_dim', null)
  if (head_dim === null) reader.divisible('hidden_size', hidden_size, 'num_attention_heads', num_attention_heads)
  reader.divisible('num_attention_heads', num_attention_heads, 'num_key_value_heads', num_key_value_heads)
  const use_sliding_window = reader.boolean('use_sliding_window', false)
  const window = reader.optionalInteger('sliding_window', 4096, { min: 0 })
  const sliding_window = use_sliding_window ? window : null
  const max_window_layers = reader.integer('max_window_layers', 28, { min: 0 })
  return {
    ...readTokenIds(reader, { pad_token_id: null, bos_token_id: null, eos_token_id: null }, vocab_size),
    vocab_size,
    tie_word_embeddings: reader.boolean('tie_word_embeddings', false),
    hidden_size,
    intermediate_size: reader.integer('intermediate_size', 22016),
    num_hidden_layers,
    num_attention_heads,
    num_key_value_heads,
    head_dim: head_dim ?? hidden_size / num_attention_heads,
    hidden_act: reader.activation('hidden_act', 'silu'),
    max_position_embeddings,
    initializer_range: reader.number('initializer_range', 0.02, { min: 0 }),
    rms_norm_eps: reader.number('rms_norm_eps', 1e-6, { min: 0 }),
    use_cache: reader.boolean('use_cache', true),
    rope_parameters: readRopeParameters(reader, max_position_embeddings),
    use_sliding_window,
    sliding_window,
    max_window_layers,
    layer_types: readLayerTypes(reader, num_hidden_layers, sliding_window === null ? Infinity : max_window_layers),
    attention_dropout: reader.probability('attention_dropout', 0),
  }
}

function readLayerTypes(reader: ConfigReader, layers: number, firstSliding: number): Qwen2Fields['layer_types'] {
  const given = reader.optionalStrings('layer_types')
  if (!given) {
    return Array.from({ length: layers }, (_, i) => (i >= firstSliding ? 'sliding_attention' : 'full_attention'))
  }
  if (given.length !== layers) {
    reader.fail('layer_types', `${layers} entries, one a layer ("num_hidden_layers"), and has ${given.length}`)
  }
  if (!given.every(type => (LAYER_TYPES as readonly string[]).includes(type))) {
    reader.fail('layer_types', `entries among ${LAYER_TYPES.join(', ')}`)
  }
  return given as (typeof LAYER_TYPES)[number][]
}
