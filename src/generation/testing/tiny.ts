/** @file For tests: tiny decoders with random weights, and a tokenizer of single characters. */
import { AutoConfig, AutoModelForCausalLM, type PreTrainedModel } from '../../models/index.ts'

const LLAMA = {
  vocab_size: 64,
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 128,
  // Large, so that the most likely tokens vary.
  initializer_range: 0.3,
  tie_word_embeddings: false,
  eos_token_id: null,
  pad_token_id: null,
  bos_token_id: null,
}

/** Configurations of decoders with 64 tokens. */
export const TINY = {
  llama: { model_type: 'llama', ...LLAMA },
  qwen2: { model_type: 'qwen2', ...LLAMA },
  gpt2: {
    ...{
      model_type: 'gpt2',
      vocab_size: 64,
      n_embd: 32,
      n_layer: 2,
      n_head: 4,
      n_positions: 64,
      initializer_range: 0.3,
    },
    ...{ tie_word_embeddings: false, eos_token_id: null, pad_token_id: null, bos_token_id: null },
  },
} as const

/** A decoder with random values, always the same. */
export function tinyModel(type: keyof typeof TINY, overrides: object = {}): PreTrainedModel {
  const model = AutoModelForCausalLM.fromConfig(AutoConfig.fromJSON({ ...TINY[type], ...overrides }))
  model.initialize(1)
  return model
}

/** Each token is one character; token 0 is special. */
export const characters = {
  decode(ids: Iterable<number | bigint>, { skipSpecialTokens = false } = {}): string {
    const kept = [...ids].map(Number).filter(id => !(skipSpecialTokens && id === 0))
    return kept.map(id => String.fromCharCode(id + 48)).join('')
  },
}
