/** @file The configuration of GPT-NeoX and Pythia. */
import type { PretrainedConfig } from './pretrained.ts'
import type { ConfigReader } from './reader.ts'
import { type RopeParameters, readPartialRope } from './rope.ts'
import { readTokenIds, type TokenIds } from './tokens.ts'

interface GPTNeoXFields extends TokenIds {
  readonly vocab_size: number
  readonly tie_word_embeddings: boolean
  readonly hidden_size: number
  readonly num_hidden_layers: number
  readonly num_attention_heads: number
  readonly intermediate_size: number
  readonly hidden_act: string
  readonly attention_dropout: number
  readonly hidden_dropout: number
  readonly classifier_dropout: number
  readonly max_position_embeddings: number
  readonly initializer_range: number
  readonly layer_norm_eps: number
  readonly use_cache: boolean
  /** Whether attention and feed-forward network read the same input. */
  readonly use_parallel_residual: boolean
  readonly rope_parameters: RopeParameters
  readonly attention_bias: boolean
}

/** The configuration of GPT-NeoX (`model_type` "gpt_neox"). */
export interface GPTNeoXConfig extends PretrainedConfig, GPTNeoXFields {
  readonly model_type: 'gpt_neox'
}

/** Reads a GPT-NeoX configuration; absent keys are those of GPT-NeoX 20B. */
export function parseGPTNeoXConfig(reader: ConfigReader): GPTNeoXFields {
  const vocab_size = reader.integer('vocab_size', 50432)
  const max_position_embeddings = reader.integer('max_position_embeddings', 2048)
  const fields = {
    ...readTokenIds(reader, { pad_token_id: null, bos_token_id: 0, eos_token_id: 2 }, vocab_size),
    vocab_size,
    tie_word_embeddings: reader.boolean('tie_word_embeddings', false),
    hidden_size: reader.integer('hidden_size', 6144),
    num_hidden_layers: reader.integer('num_hidden_layers', 44),
    num_attention_heads: reader.integer('num_attention_heads', 64),
    intermediate_size: reader.integer('intermediate_size', 24576),
    hidden_act: reader.activation('hidden_act', 'gelu'),
    attention_dropout: reader.probability('attention_dropout', 0),
    hidden_dropout: reader.probability('hidden_dropout', 0),
    classifier_dropout: reader.probability('classifier_dropout', 0.1),
    max_position_embeddings,
    initializer_range: reader.number('initializer_range', 0.02, { min: 0 }),
    layer_norm_eps: reader.number('layer_norm_eps', 1e-5, { min: 0 }),
    use_cache: reader.boolean('use_cache', true),
    use_parallel_residual: reader.boolean('use_parallel_residual', true),
    rope_parameters: readPartialRope(reader, max_position_embeddings, {
      share: 0.25,
      shareKey: 'rotary_pct',
      thetaKey: 'rotary_emb_base',
    }),
    attention_bias: reader.boolean('attention_bias', true),
  }
  reader.divisible('hidden_size', fields.hidden_size, 'num_attention_heads', fields.num_attention_heads)
  return fields
}
