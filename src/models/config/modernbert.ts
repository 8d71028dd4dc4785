/** @file The configuration of ModernBERT. */
import { type LayerType, readLayerTypes } from './decoder.ts'
import type { PretrainedConfig } from './pretrained.ts'
import type { ConfigReader } from './reader.ts'
import { type RopeParameters, readLayerRope } from './rope.ts'
import { readTokenIds, type TokenIds } from './tokens.ts'

interface ModernBertFields extends TokenIds {
  readonly vocab_size: number
  readonly hidden_size: number
  readonly intermediate_size: number
  readonly num_hidden_layers: number
  readonly num_attention_heads: number
  readonly hidden_activation: string
  /** Longest sequence, in tokens. */
  readonly max_position_embeddings: number
  readonly initializer_range: number
  /** How many deviations first values lie from 0 at most. */
  readonly initializer_cutoff_factor: number
  readonly norm_eps: number
  readonly norm_bias: boolean
  readonly attention_bias: boolean
  readonly attention_dropout: number
  /** The kind of attention of each layer: to all tokens, or to those near by. */
  readonly layer_types: readonly LayerType[]
  /** How many tokens a sliding layer sees, half of them on each side. */
  readonly local_attention: number
  /** The rotary positions of layers that see all tokens. */
  readonly rope_parameters: RopeParameters
  /** The rotary positions of sliding layers. */
  readonly sliding_rope_parameters: RopeParameters
  readonly embedding_dropout: number
  readonly mlp_bias: boolean
  readonly mlp_dropout: number
  readonly decoder_bias: boolean
  /** What stands for a sequence: its first token, or the mean of all. */
  readonly classifier_pooling: 'cls' | 'mean'
  readonly classifier_dropout: number
  readonly classifier_bias: boolean
  readonly classifier_activation: string
  readonly tie_word_embeddings: boolean
}

/** The configuration of ModernBERT (`model_type` "modernbert"). */
export interface ModernBertConfig extends PretrainedConfig, ModernBertFields {
  readonly model_type: 'modernbert'
}

/** Reads a ModernBERT configuration; absent keys are those of ModernBERT-base. */
export function parseModernBertConfig(reader: ConfigReader): ModernBertFields {
  const vocab_size = reader.integer('vocab_size', 50368)
  const hidden_size = reader.integer('hidden_size', 768)
  const num_attention_heads = reader.integer('num_attention_heads', 12)
  reader.divisible('hidden_size', hidden_size, 'num_attention_heads', num_attention_heads)
  const num_hidden_layers = reader.integer('num_hidden_layers', 22)
  const max_position_embeddings = reader.integer('max_position_embeddings', 8192)
  const every = reader.integer('global_attn_every_n_layers', 3)
  const rope = (type: LayerType, thetaKey: string, theta: number) =>
    readLayerRope(reader, type, max_position_embeddings, { thetaKey, theta, scales: true })
  return {
    ...readTokenIds(reader, { pad_token_id: 50283, bos_token_id: 50281, eos_token_id: 50282 }, vocab_size),
    vocab_size,
    hidden_size,
    intermediate_size: reader.integer('intermediate_size', 1152),
    num_hidden_layers,
    num_attention_heads,
    hidden_activation: reader.activation('hidden_activation', 'gelu'),
    max_position_embeddings,
    initializer_range: reader.number('initializer_range', 0.02, { min: 0 }),
    initializer_cutoff_factor: reader.number('initializer_cutoff_factor', 2, { min: 0.1 }),
    norm_eps: reader.number('norm_eps', 1e-5, { min: 0 }),
    norm_bias: reader.boolean('norm_bias', false),
    attention_bias: reader.boolean('attention_bias', false),
    attention_dropout: reader.probability('attention_dropout', 0),
    layer_types: readLayerTypes(reader, num_hidden_layers, layer => layer % every !== 0),
    local_attention: reader.integer('local_attention', 128),
    rope_parameters: rope('full_attention', 'global_rope_theta', 160_000),
    sliding_rope_parameters: rope('sliding_attention', 'local_rope_theta', 10_000),
    embedding_dropout: reader.probability('embedding_dropout', 0),
    mlp_bias: reader.boolean('mlp_bias', false),
    mlp_dropout: reader.probability('mlp_dropout', 0),
    decoder_bias: reader.boolean('decoder_bias', true),
    classifier_pooling: reader.choice('classifier_pooling', 'cls', ['cls', 'mean']),
    classifier_dropout: reader.probability('classifier_dropout', 0),
    classifier_bias: reader.boolean('classifier_bias', false),
    classifier_activation: reader.activation('classifier_activation', 'gelu'),
    tie_word_embeddings: reader.boolean('tie_word_embeddings', true),
  }
}
