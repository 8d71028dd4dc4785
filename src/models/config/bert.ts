/** @file The configuration of BERT. */
import type { PretrainedConfig } from './pretrained.ts'
import type { ConfigReader } from './reader.ts'
import { readTokenIds, type TokenIds } from './tokens.ts'

/** The fields of BERT's configuration. */
export interface BertFields extends TokenIds {
  readonly hidden_size: number
  readonly num_hidden_layers: number
  readonly num_attention_heads: number
  readonly intermediate_size: number
  /** Activation of the feed-forward layer. */
  readonly hidden_act: string
  readonly hidden_dropout_prob: number
  readonly attention_probs_dropout_prob: number
  /** Dropout before the classifier; `null` means `hidden_dropout_prob`. */
  readonly classifier_dropout: number | null
  /** Longest sequence, in tokens. */
  readonly max_position_embeddings: number
  /** Number of segment embeddings. */
  readonly type_vocab_size: number
  readonly vocab_size: number
  /** Whether the output layer is the embedding matrix. */
  readonly tie_word_embeddings: boolean
  readonly initializer_range: number
  readonly layer_norm_eps: number
  readonly use_cache: boolean
  readonly is_decoder: boolean
  readonly add_cross_attention: boolean
}

/** The configuration of BERT, or of an architecture that says the same things. */
export interface BertFamilyConfig extends PretrainedConfig, BertFields {}

/** The configuration of BERT (`model_type` "bert"). */
export interface BertConfig extends BertFamilyConfig {
  readonly model_type: 'bert'
}

/** In what the defaults of BERT's family differ. */
export interface BertDefaults extends TokenIds {
  readonly vocab_size: number
  /** 768 unless told. */
  readonly hidden_size?: number
  /** 12 unless told. */
  readonly num_attention_heads?: number
  /** 3072 unless told. */
  readonly intermediate_size?: number
  /** `gelu` unless told. */
  readonly hidden_act?: 'gelu_new'
  /** The rate of every dropout; 0.1 unless told. */
  readonly dropout?: number
}

/** Reads a BERT configuration; absent keys are those of bert-base-uncased. */
export function parseBertConfig(reader: ConfigReader): BertFields {
  return readBertFields(reader, { vocab_size: 30522, pad_token_id: 0, bos_token_id: null, eos_token_id: null })
}

/** Reads the configuration of an architecture that says the same things as BERT. */
export function readBertFields(reader: ConfigReader, defaults: BertDefaults): BertFields {
  const { pad_token_id, bos_token_id, eos_token_id, dropout = 0.1 } = defaults
  const vocab_size = reader.integer('vocab_size', defaults.vocab_size)
  const fields = {
    ...readTokenIds(reader, { pad_token_id, bos_token_id, eos_token_id }, vocab_size),
    vocab_size,
    tie_word_embeddings: reader.boolean('tie_word_embeddings', true),
    hidden_size: reader.integer('hidden_size', defaults.hidden_size ?? 768),
    num_hidden_layers: reader.integer('num_hidden_layers', 12),
    num_attention_heads: reader.integer('num_attention_heads', defaults.num_attention_heads ?? 12),
    intermediate_size: reader.integer('intermediate_size', defaults.intermediate_size ?? 3072),
    hidden_act: reader.activation('hidden_act', defaults.hidden_act ?? 'gelu'),
    hidden_dropout_prob: reader.probability('hidden_dropout_prob', dropout),
    attention_probs_dropout_prob: reader.probability('attention_probs_dropout_prob', dropout),
    max_position_embeddings: reader.integer('max_position_embeddings', 512),
    type_vocab_size: reader.integer('type_vocab_size', 2),
    initializer_range: reader.number('initializer_range', 0.02, { min: 0 }),
    layer_norm_eps: reader.number('layer_norm_eps', 1e-12, { min: 0 }),
    use_cache: reader.boolean('use_cache', true),
    classifier_dropout: reader.optionalNumber('classifier_dropout', null, { min: 0, max: 1 }),
    is_decoder: reader.boolean('is_decoder', false),
    add_cross_attention: reader.boolean('add_cross_attention', false),
  }
  const positions = reader.optionalString('position_embedding_type') ?? 'absolute'
  if (positions !== 'absolute') {
    reader.fail(
      'position_embedding_type',
      '"absolute"',
      'Relative positions are not computed here, nor in Transformers 5: take a checkpoint with absolute ones.',
    )
  }
  reader.divisible('hidden_size', fields.hidden_size, 'num_attention_heads', fields.num_attention_heads)
  return fields
}
