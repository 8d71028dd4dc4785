/** @file The configurations of Qwen2, Qwen2.5 and Qwen3. */
import { type DecoderDefaults, type DecoderFields, type LayerType, readDecoder, readLayerTypes } from './decoder.ts'
import type { PretrainedConfig } from './pretrained.ts'
import type { ConfigReader } from './reader.ts'

interface Qwen2Fields extends DecoderFields {
  readonly use_sliding_window: boolean
  /** How far back a sliding layer sees, in tokens; `null` unless `use_sliding_window`. */
  readonly sliding_window: number | null
  /** The first layer that slides. */
  readonly max_window_layers: number
  /** The kind of attention of each layer. */
  readonly layer_types: readonly LayerType[]
}

interface Qwen3Fields extends Qwen2Fields {
  /** Whether the projections of the attention have a bias. */
  readonly attention_bias: boolean
}

/** The configuration of Qwen2 and Qwen2.5 (`model_type` "qwen2"). */
export interface Qwen2Config extends PretrainedConfig, Qwen2Fields {
  readonly model_type: 'qwen2'
}

/** The configuration of Qwen3 (`model_type` "qwen3"). */
export interface Qwen3Config extends PretrainedConfig, Qwen3Fields {
  readonly model_type: 'qwen3'
}

const DEFAULTS: DecoderDefaults = {
  pad_token_id: null,
  bos_token_id: null,
  eos_token_id: null,
  vocab_size: 151936,
  intermediate_size: 22016,
  max_position_embeddings: 32768,
  num_key_value_heads: 32,
}

/** Reads a Qwen2 configuration; absent keys are those of Transformers. */
export function parseQwen2Config(reader: ConfigReader): Qwen2Fields {
  return readQwen(reader, DEFAULTS)
}

/** Reads a Qwen3 configuration; absent keys are those of Transformers. */
export function parseQwen3Config(reader: ConfigReader): Qwen3Fields {
  const shared = readQwen(reader, { ...DEFAULTS, head_dim: 128 })
  return { ...shared, attention_bias: reader.boolean('attention_bias', false) }
}

function readQwen(reader: ConfigReader, defaults: DecoderDefaults): Qwen2Fields {
  const shared = readDecoder(reader, defaults)
  const use_sliding_window = reader.boolean('use_sliding_window', false)
  const window = reader.optionalInteger('sliding_window', 4096, { min: 0 })
  const sliding_window = use_sliding_window ? window : null
  const max_window_layers = reader.integer('max_window_layers', 28, { min: 0 })
  const slides = (layer: number) => sliding_window !== null && layer >= max_window_layers
  const layer_types = readLayerTypes(reader, shared.num_hidden_layers, slides)
  return { ...shared, use_sliding_window, sliding_window, max_window_layers, layer_types }
}
