/** @file The configuration of Whisper. */
import type { PretrainedConfig } from './pretrained.ts'
import type { ConfigReader } from './reader.ts'
import { readSeq2SeqTokenIds, type Seq2SeqTokenIds } from './seq2seq.ts'

interface WhisperFields extends Seq2SeqTokenIds {
  readonly vocab_size: number
  /** Whether the output layer is the embedding matrix. */
  readonly tie_word_embeddings: boolean
  /** Bands of the spectrogram that the encoder reads. */
  readonly num_mel_bins: number
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
  readonly activation_dropout: number
  readonly init_std: number
  /** Positions of the encoder; a spectrogram has twice as many frames. */
  readonly max_source_positions: number
  /** Longest text, in tokens. */
  readonly max_target_positions: number
  readonly is_encoder_decoder: boolean
  readonly use_cache: boolean
}

/** Common names, and those of Whisper. */
export const WHISPER_ATTRIBUTE_MAP = {
  hidden_size: 'd_model',
  num_attention_heads: 'encoder_attention_heads',
  num_hidden_layers: 'encoder_layers',
  num_key_value_heads: 'encoder_attention_heads',
  initializer_range: 'init_std',
  max_position_embeddings: 'max_target_positions',
} as const

/** The configuration of Whisper (`model_type` "whisper"). */
export interface WhisperConfig extends PretrainedConfig, WhisperFields {
  readonly model_type: 'whisper'
  readonly is_encoder_decoder: boolean
  /** The same as `d_model`. */
  readonly hidden_size: number
  /** The same as `encoder_attention_heads`. */
  readonly num_attention_heads: number
  /** The same as `encoder_layers`. */
  readonly num_hidden_layers: number
  /** The same as `init_std`. */
  readonly initializer_range: number
  /** The same as `max_target_positions`. */
  readonly max_position_embeddings: number
}

/** Reads a Whisper configuration; absent keys are those of whisper-tiny. */
export function parseWhisperConfig(reader: ConfigReader): WhisperFields {
  const vocab_size = reader.integer('vocab_size', 51865)
  const ids = { pad_token_id: 50256, bos_token_id: 50256, eos_token_id: 50256 }
  const start = { decoder_start_token_id: 50257, forced_bos_token_id: null, forced_eos_token_id: null }
  const fields = {
    ...readSeq2SeqTokenIds(reader, { ...ids, ...start }, vocab_size),
    vocab_size,
    tie_word_embeddings: reader.boolean('tie_word_embeddings', true),
    num_mel_bins: reader.integer('num_mel_bins', 80),
    d_model: reader.integer('d_model', 384),
    encoder_layers: reader.integer('encoder_layers', 4),
    encoder_ffn_dim: reader.integer('encoder_ffn_dim', 1536),
    encoder_attention_heads: reader.integer('encoder_attention_heads', 6),
    decoder_layers: reader.integer('decoder_layers', 4),
    decoder_ffn_dim: reader.integer('decoder_ffn_dim', 1536),
    decoder_attention_heads: reader.integer('decoder_attention_heads', 6),
    activation_function: reader.activation('activation_function', 'gelu'),
    dropout: reader.probability('dropout', 0),
    attention_dropout: reader.probability('attention_dropout', 0),
    activation_dropout: reader.probability('activation_dropout', 0),
    init_std: reader.number('init_std', 0.02, { min: 0 }),
    max_source_positions: reader.integer('max_source_positions', 1500),
    max_target_positions: reader.integer('max_target_positions', 448),
    is_encoder_decoder: reader.boolean('is_encoder_decoder', true),
    use_cache: reader.boolean('use_cache', true),
  }
  for (const key of ['encoder_layerdrop', 'decoder_layerdrop']) {
    if (reader.probability(key, 0) > 0) {
      reader.warnings.push(`"${key}" is above 0: layers are not dropped in training here.`)
    }
  }
  if (reader.boolean('apply_spec_augment', false)) {
    reader.warnings.push('"apply_spec_augment" is true: spectrograms are not masked in training here.')
  }
  reader.divisible('d_model', fields.d_model, 'encoder_attention_heads', fields.encoder_attention_heads)
  reader.divisible('d_model', fields.d_model, 'decoder_attention_heads', fields.decoder_attention_heads)
  return fields
}
