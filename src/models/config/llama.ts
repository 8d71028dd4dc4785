/** @file The configuration of Llama. */
import { type DecoderFields, readDecoder } from './decoder.ts'
import type { PretrainedConfig } from './pretrained.ts'
import type { ConfigReader } from './reader.ts'

interface LlamaFields extends DecoderFields {
  /** Whether the projections of the attention have a bias. */
  readonly attention_bias: boolean
  /** Whether the projections of the feed-forward layer have a bias. */
  readonly mlp_bias: boolean
}

/** The configuration of Llama (`model_type` "llama"). */
export interface LlamaConfig extends PretrainedConfig, LlamaFields {
  readonly model_type: 'llama'
}

/** Reads a Llama configuration; absent keys are those of Llama 2 7B. */
export function parseLlamaConfig(reader: ConfigReader): LlamaFields {
  const shared = readDecoder(reader, {
    pad_token_id: null,
    bos_token_id: 1,
    eos_token_id: 2,
    vocab_size: 32000,
    intermediate_size: 11008,
    max_position_embeddings: 2048,
    num_key_value_heads: null,
  })
  // Transformers demands it of Llama even where head_dim is given.
  reader.divisible('hidden_size', shared.hidden_size, 'num_attention_heads', shared.num_attention_heads)
  return {
    ...shared,
    attention_bias: reader.boolean('attention_bias', false),
    mlp_bias: reader.boolean('mlp_bias', false),
  }
}
