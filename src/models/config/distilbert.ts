/** @file The configuration of DistilBERT. */
import type { PretrainedConfig } from './pretrained.ts'
import type { ConfigReader } from './reader.ts'
import { readTokenIds, type TokenIds } from './tokens.ts'

interface DistilBertFields extends TokenIds {
  readonly vocab_size: number
  /** Whether the output layer is the embedding matrix. */
  readonly tie_word_embeddings: boolean
  /** Longest sequence, in tokens. */
  readonly max_position_embeddings: number
  /** Whether positions begin as sines and cosines; they are learned parameters all the same. */
  readonly sinusoidal_pos_embds: boolean
  /** Number of layers. */
  readonly n_layers: number
  /** Number of attention heads. */
  readonly n_heads: number
  /** Width of the hidden states. */
  readonly dim: number
  /** Width of the feed-forward layer. */
  readonly hidden_dim: number
  readonly dropout: number
  readonly attention_dropout: number
  /** Activation of the feed-forward layer. */
  readonly activation: string
  readonly initializer_range: number
  /** Dropout before the scores of question answering. */
  readonly qa_dropout: number
  /** Dropout before the classifier of sequences. */
  readonly seq_classif_dropout: number
}

/** The names that other architectures use, and DistilBERT's own. */
export const DISTILBERT_ATTRIBUTE_MAP = {
  hidden_size: 'dim',
  num_attention_heads: 'n_heads',
  num_hidden_layers: 'n_layers',
} as const

/** The configuration of DistilBERT (`model_type` "distilbert"). */
export interface DistilBertConfig extends PretrainedConfig, DistilBertFields {
  readonly model_type: 'distilbert'
  /** The same as `dim`. */
  readonly hidden_size: number
  /** The same as `n_heads`. */
  readonly num_attention_heads: number
  /** The same as `n_layers`. */
  readonly num_hidden_layers: number
}

/** Reads a DistilBERT configuration; absent keys are those of distilbert-base-uncased. */
export function parseDistilBertConfig(reader: ConfigReader): DistilBertFields {
  const vocab_size = reader.integer('vocab_size', 30522)
  const fields = {
    ...readTokenIds(reader, { pad_token_id: 0, bos_token_id: null, eos_token_id: null }, vocab_size),
    vocab_size,
    tie_word_embeddings: reader.boolean('tie_word_embeddings', true),
    max_position_embeddings: reader.integer('max_position_embeddings', 512),
    sinusoidal_pos_embds: reader.boolean('sinusoidal_pos_embds', false),
    n_layers: reader.integer('n_layers', 6),
    n_heads: reader.integer('n_heads', 12),
    dim: reader.integer('dim', 768),
    hidden_dim: reader.integer('hidden_dim', 3072),
    dropout: reader.probability('dropout', 0.1),
    attention_dropout: reader.probability('attention_dropout', 0.1),
    activation: reader.activation('activation', 'gelu'),
    initializer_range: reader.number('initializer_range', 0.02, { min: 0 }),
    qa_dropout: reader.probability('qa_dropout', 0.1),
    seq_classif_dropout: reader.probability('seq_classif_dropout', 0.2),
  }
  reader.divisible('dim', fields.dim, 'n_heads', fields.n_heads)
  return fields
}
