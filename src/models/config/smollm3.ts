/** @file The configuration of SmolLM3. */
import { type DecoderFields, type LayerType, readDecoder, readLayerTypes } from './decoder.ts'
import type { PretrainedConfig } from './pretrained.ts'
import type { ConfigReader } from './reader.ts'

interface SmolLM3Fields extends DecoderFields {
  readonly attention_bias: boolean
  readonly mlp_bias: boolean
  readonly use_sliding_window: boolean
  /** How far back a sliding layer sees, in tokens. */
  readonly sliding_window: number | null
  /** 1 for each layer that turns queries and keys by their positions, 0 for each that does not. */
  readonly no_rope_layers: readonly number[]
  readonly layer_types: readonly LayerType[]
}

/** The configuration of SmolLM3 (`model_type` "smollm3"). */
export interface SmolLM3Config extends PretrainedConfig, SmolLM3Fields {
  readonly model_type: 'smollm3'
}

/** Reads a SmolLM3 configuration; absent keys are those of SmolLM3 3B. */
export function parseSmolLM3Config(reader: ConfigReader): SmolLM3Fields {
  const shared = readDecoder(reader, {
    pad_token_id: 128004,
    bos_token_id: 128000,
    eos_token_id: 128001,
    vocab_size: 128256,
    hidden_size: 2048,
    intermediate_size: 11008,
    num_hidden_layers: 36,
    num_attention_heads: 16,
    num_key_value_heads: 4,
    max_position_embeddings: 32768,
    rope_theta: 2_000_000,
    tie_word_embeddings: true,
  })
  const layers = shared.num_hidden_layers
  const no_rope_layers = readRopeLayers(reader, layers)
  const use_sliding_window = reader.boolean('use_sliding_window', false)
  const sliding_window = reader.optionalInteger('sliding_window', null)
  const slides = (layer: number) => use_sliding_window && sliding_window !== null && !no_rope_layers[layer]
  return {
    ...shared,
    attention_bias: reader.boolean('attention_bias', false),
    mlp_bias: reader.boolean('mlp_bias', false),
    use_sliding_window,
    sliding_window,
    no_rope_layers,
    layer_types: readLayerTypes(reader, layers, slides),
  }
}

function readRopeLayers(reader: ConfigReader, layers: number): readonly number[] {
  const interval = reader.integer('no_rope_layer_interval', 4)
  const given = reader.get('no_rope_layers')
  if (given === undefined || given === null) {
    return Array.from({ length: layers }, (_, i) => ((i + 1) % interval === 0 ? 0 : 1))
  }
  if (Array.isArray(given) && given.length >= layers && given.every(flag => flag === 0 || flag === 1)) return given
  return reader.fail('no_rope_layers', `a list of 0 and 1, one a layer ("num_hidden_layers" is ${layers})`)
}
