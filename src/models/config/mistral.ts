/** @file The configuration of Mistral. */
import { type DecoderFields, readDecoder } from './decoder.ts'
import type { PretrainedConfig } from './pretrained.ts'
import type { ConfigReader } from './reader.ts'

interface MistralFields extends DecoderFields {
  /** How far back every layer sees, in tokens; `null` for all. */
  readonly sliding_window: number | null
}

/** The configuration of Mistral (`model_type` "mistral"). */
export interface MistralConfig extends PretrainedConfig, MistralFields {
  readonly model_type: 'mistral'
}

/** Reads a Mistral configuration; absent keys are those of Mistral 7B. */
export function parseMistralConfig(reader: ConfigReader): MistralFields {
  const shared = readDecoder(reader, {
    pad_token_id: null,
    bos_token_id: 1,
    eos_token_id: 2,
    vocab_size: 32000,
    intermediate_size: 14336,
    max_position_embeddings: 131072,
    num_key_value_heads: 8,
  })
  return { ...shared, sliding_window: reader.optionalInteger('sliding_window', 4096) }
}
