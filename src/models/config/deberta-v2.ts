/** @file The configuration of DeBERTa-v2 and DeBERTa-v3. */
import type { PretrainedConfig } from './pretrained.ts'
import type { ConfigReader } from './reader.ts'
import { readTokenIds, type TokenIds } from './tokens.ts'

/** Which distance-dependent terms the scores have: content to position, position to content. */
export type PositionTerm = 'c2p' | 'p2c'

const POSITION_TERMS: readonly PositionTerm[] = ['c2p', 'p2c']

interface DebertaV2Fields extends TokenIds {
  readonly vocab_size: number
  readonly hidden_size: number
  /** Width of the embeddings. */
  readonly embedding_size: number
  readonly num_hidden_layers: number
  readonly num_attention_heads: number
  readonly intermediate_size: number
  readonly hidden_act: string
  readonly hidden_dropout_prob: number
  readonly attention_probs_dropout_prob: number
  /** Longest sequence, in tokens, where positions are embedded. */
  readonly max_position_embeddings: number
  /** Number of segment embeddings; 0 for none. */
  readonly type_vocab_size: number
  readonly initializer_range: number
  readonly layer_norm_eps: number
  /** Whether the scores depend on distances at all. */
  readonly relative_attention: boolean
  /** The distance from which all are the same; -1 for `max_position_embeddings`. */
  readonly max_relative_positions: number
  /** How many classes distances of one sign fall into, widening logarithmically; -1 for a class each. */
  readonly position_buckets: number
  readonly pos_att_type: readonly PositionTerm[]
  /** Whether distances are projected by the layers that project tokens. */
  readonly share_att_key: boolean
  /** Whether positions are also added to the embeddings. */
  readonly position_biased_input: boolean
  /** `layer_norm` where the embeddings of distances are normalised. */
  readonly norm_rel_ebd: string
  /** The width of the convolution beside the first layer; 0 for none. */
  readonly conv_kernel_size: number
  readonly conv_groups: number
  readonly conv_act: string
  readonly pooler_dropout: number
  readonly pooler_hidden_act: string
  readonly pooler_hidden_size: number
  /** Dropout before the classifier of sequences; `null` means `hidden_dropout_prob`. */
  readonly cls_dropout: number | null
  readonly tie_word_embeddings: boolean
  /** Whether the head for masked tokens is the one that Transformers had first. */
  readonly legacy: boolean
}

/** The configuration of DeBERTa-v2 (`model_type` "deberta-v2"), and of DeBERTa-v3. */
export interface DebertaV2Config extends PretrainedConfig, DebertaV2Fields {
  readonly model_type: 'deberta-v2'
}

/** Reads a DeBERTa-v2 configuration; absent keys are those of deberta-v2-xlarge. */
export function parseDebertaV2Config(reader: ConfigReader): DebertaV2Fields {
  const vocab_size = reader.integer('vocab_size', 128100)
  const hidden_size = reader.integer('hidden_size', 1536)
  const num_attention_heads = reader.integer('num_attention_heads', 24)
  reader.divisible('hidden_size', hidden_size, 'num_attention_heads', num_attention_heads)
  const position_buckets = reader.integer('position_buckets', -1, { min: -1 })
  if (position_buckets > 0 && position_buckets % 2 !== 0) {
    reader.fail('position_buckets', 'an even number, or -1 for a class for each distance')
  }
  return {
    ...readTokenIds(reader, { pad_token_id: 0, bos_token_id: null, eos_token_id: null }, vocab_size),
    vocab_size,
    hidden_size,
    embedding_size: reader.integer('embedding_size', hidden_size),
    num_hidden_layers: reader.integer('num_hidden_layers', 24),
    num_attention_heads,
    intermediate_size: reader.integer('intermediate_size', 6144),
    hidden_act: reader.activation('hidden_act', 'gelu'),
    hidden_dropout_prob: reader.probability('hidden_dropout_prob', 0.1),
    attention_probs_dropout_prob: reader.probability('attention_probs_dropout_prob', 0.1),
    max_position_embeddings: reader.integer('max_position_embeddings', 512),
    type_vocab_size: reader.integer('type_vocab_size', 0, { min: 0 }),
    initializer_range: reader.number('initializer_range', 0.02, { min: 0 }),
    layer_norm_eps: reader.number('layer_norm_eps', 1e-7, { min: 0 }),
    relative_attention: reader.boolean('relative_attention', false),
    max_relative_positions: reader.integer('max_relative_positions', -1, { min: -1 }),
    position_buckets,
    pos_att_type: readPositionTerms(reader),
    share_att_key: reader.boolean('share_att_key', false),
    position_biased_input: reader.boolean('position_biased_input', true),
    norm_rel_ebd: reader.optionalString('norm_rel_ebd') ?? 'none',
    conv_kernel_size: reader.integer('conv_kernel_size', 0, { min: 0 }),
    conv_groups: reader.integer('conv_groups', 1),
    conv_act: reader.activation('conv_act', 'tanh'),
    pooler_dropout: reader.probability('pooler_dropout', 0),
    pooler_hidden_act: reader.activation('pooler_hidden_act', 'gelu'),
    pooler_hidden_size: readPoolerWidth(reader, hidden_size),
    cls_dropout: reader.optionalNumber('cls_dropout', null, { min: 0, max: 1 }),
    tie_word_embeddings: reader.boolean('tie_word_embeddings', true),
    legacy: reader.boolean('legacy', true),
  }
}

function readPoolerWidth(reader: ConfigReader, hidden: number): number {
  const width = reader.integer('pooler_hidden_size', hidden)
  return width === hidden ? width : reader.fail('pooler_hidden_size', `"hidden_size", ${hidden}`)
}

/** A list of terms, or the older spelling `"p2c|c2p"`. */
function readPositionTerms(reader: ConfigReader): readonly PositionTerm[] {
  const value = reader.get('pos_att_type')
  const names = typeof value === 'string' ? value.toLowerCase().split('|') : (value ?? [])
  const terms = Array.isArray(names) ? names.map(name => String(name).trim() as PositionTerm) : []
  const isRight = Array.isArray(names) && terms.every(term => POSITION_TERMS.includes(term))
  return isRight ? Object.freeze(terms) : reader.fail('pos_att_type', 'a list of "c2p" and "p2c"')
}
