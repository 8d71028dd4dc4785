/** @file The configuration of BART. */
import type { PretrainedConfig } from './pretrained.ts'
import type { ConfigReader } from './reader.ts'
import { readSeq2SeqTokenIds, type Seq2SeqTokenIds } from './seq2seq.ts'

interface BartFields extends Seq2SeqTokenIds {
  readonly vocab_size: number
  /** Whether the output layer is the embedding matrix. */
  readonly tie_word_embeddings: boolean
  /** Longest sequence, in tokens, of the encoder and of the decoder. */
  readonly max_position_embeddings: number
  /** Width of the hidden states. */
  readonly d_model: number
  readonly encoder_layers: number
  readonly encoder_ffn_dim: number
  readonly encoder_attention_heads: number
  readonly decoder_layers: number
  readonly decoder_ffn_dim: number
  readonly decoder_attention_heads: number
  readonly activation_function: string
  readonly dropout: number
  readonly attention_dropout: number
  /** Dropout after the activation of the feed-forward layer. */
  readonly activation_dropout: number
  readonly init_std: number
  readonly classifier_dropout: number
  /** Whether embedded tokens are multiplied by the root of their width. */
  readonly scale_embedding: boolean
  readonly is_encoder_decoder: boolean
  readonly use_cache: boolean
}

/** Common names, and those of BART. */
export const BART_ATTRIBUTE_MAP = {
  hidden_size: 'd_model',
  intermediate_size: 'encoder_ffn_dim',
  num_attention_heads: 'encoder_attention_heads',
  num_hidden_layers: 'encoder_layers',
  initializer_range: 'init_std',
} as const

/** The configuration of BART (`model_type` "bart"). */
export interface BartConfig extends PretrainedConfig, BartFields {
  readonly model_type: 'bart'
  readonly is_encoder_decoder: boolean
  /** The same as `d_model`. */
  readonly hidden_size: number
  /** The same as `encoder_ffn_dim`. */
  readonly intermediate_size: number
  /** The same as `encoder_attention_heads`. */
  readonly num_attention_heads: number
  /** The same as `encoder_layers`. */
  readonly num_hidden_layers: number
  /** The same as `init_std`. */
  readonly initializer_range: number
}

/** Reads a BART configuration; absent keys are those of bart-large. */
export function parseBartConfig(reader: ConfigReader): BartFields {
  const vocab_size = reader.integer('vocab_size', 50265)
  const start = { decoder_start_token_id: 2, forced_bos_token_id: null, forced_eos_token_id: 2 }
  const fields = {
    ...readSeq2SeqTokenIds(reader, { pad_token_id: 1, bos_token_id: 0, eos_token_id: 2, ...start }, vocab_size),
    vocab_size,
    tie_word_embeddings: reader.boolean('tie_word_embeddings', true),
    max_position_embeddings: reader.integer('max_position_embeddings', 1024),
    d_model: reader.integer('d_model', 1024),
    encoder_layers: reader.integer('encoder_layers', 12),
    encoder_ffn_dim: reader.integer('encoder_ffn_dim', 4096),
    encoder_attention_heads: reader.integer('encoder_attention_heads', 16),
    decoder_layers: reader.integer('decoder_layers', 12),
    decoder_ffn_dim: reader.integer('decoder_ffn_dim', 4096),
    decoder_attention_heads: reader.integer('decoder_attention_heads', 16),
    activation_function: reader.activation('activation_function', 'gelu'),
    dropout: reader.probability('dropout', 0.1),
    attention_dropout: reader.probability('attention_dropout', 0),
    activation_dropout: reader.probability('activation_dropout', 0),
    init_std: reader.number('init_std', 0.02, { min: 0 }),
    classifier_dropout: reader.probability('classifier_dropout', 0),
    scale_embedding: reader.boolean('scale_embedding', false),
    is_encoder_decoder: reader.boolean('is_encoder_decoder', true),
    use_cache: reader.boolean('use_cache', true),
  }
  for (const key of ['encoder_layerdrop', 'decoder_layerdrop']) {
    if (reader.probability(key, 0) > 0) {
      reader.warnings.push(`"${key}" is above 0: layers are not dropped in training here.`)
    }
  }
  reader.divisible('d_model', fields.d_model, 'encoder_attention_heads', fields.encoder_attention_heads)
  reader.divisible('d_model', fields.d_model, 'decoder_attention_heads', fields.decoder_attention_heads)
  return fields
}
