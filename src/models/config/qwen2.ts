/** @file The configuration of Qwen2 and Qwen2.5. */
import { type DecoderFields, readDecoder } from './decoder.ts'
import type { PretrainedConfig } from './pretrained.ts'
import type { ConfigReader } from './reader.ts'

const LAYER_TYPES = ['full_attention', 'sliding_attention'] as const

interface Qwen2Fields extends DecoderFields {
  readonly use_sliding_window: boolean
  /** How far back a sliding layer sees, in tokens; `null` unless `use_sliding_window`. */
  readonly sliding_window: number | null
  /** The first layer that slides. */
  readonly max_window_layers: number
  /** The kind of attention of each layer. */
  readonly layer_types: readonly (typeof LAYER_TYPES)[number][]
}

/** The configuration of Qwen2 and Qwen2.5 (`model_type` "qwen2"). */
export interface Qwen2Config extends PretrainedConfig, Qwen2Fields {
  readonly model_type: 'qwen2'
}

/** Reads a Qwen2 configuration; absent keys are those of Transformers. */
export function parseQwen2Config(reader: ConfigReader): Qwen2Fields {
  const shared = readDecoder(reader, {
    pad_token_id: null,
    bos_token_id: null,
    eos_token_id: null,
    vocab_size: 151936,
    intermediate_size: 22016,
    max_position_embeddings: 32768,
    num_key_value_heads: 32,
  })
  const use_sliding_window = reader.boolean('use_sliding_window', false)
  const window = reader.optionalInteger('sliding_window', 4096, { min: 0 })
  const sliding_window = use_sliding_window ? window : null
  const max_window_layers = reader.integer('max_window_layers', 28, { min: 0 })
  const firstSliding = sliding_window === null ? Number.POSITIVE_INFINITY : max_window_layers
  return {
    ...shared,
    use_sliding_window,
    sliding_window,
    max_window_layers,
    layer_types: readLayerTypes(reader, shared.num_hidden_layers, firstSliding),
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
