/** @file The configuration of OLMo 2. */
import { type DecoderFields, readDecoder } from './decoder.ts'
import type { PretrainedConfig } from './pretrained.ts'
import type { ConfigReader } from './reader.ts'

interface Olmo2Fields extends DecoderFields {
  readonly attention_bias: boolean
}

/** The configuration of OLMo 2 (`model_type` "olmo2"). */
export interface Olmo2Config extends PretrainedConfig, Olmo2Fields {
  readonly model_type: 'olmo2'
}

/** Reads an OLMo 2 configuration; absent keys are those of OLMo 2 7B. */
export function parseOlmo2Config(reader: ConfigReader): Olmo2Fields {
  const shared = readDecoder(reader, {
    pad_token_id: 1,
    bos_token_id: null,
    eos_token_id: 50279,
    vocab_size: 50304,
    intermediate_size: 11008,
    max_position_embeddings: 2048,
    num_key_value_heads: null,
    rms_norm_eps: 1e-5,
  })
  return { ...shared, attention_bias: reader.boolean('attention_bias', false) }
}
