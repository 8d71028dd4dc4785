/** @file What the configurations of encoder-decoders share: the tokens that a decoder must begin and end with. */
import type { ConfigReader } from './reader.ts'
import { readTokenIds, type TokenIds } from './tokens.ts'

/** The special tokens of an encoder-decoder; `null` where it has none. */
export interface Seq2SeqTokenIds extends TokenIds {
  /** What the decoder reads first. */
  readonly decoder_start_token_id: number | null
  /** The first token that is generated, whatever the model says. */
  readonly forced_bos_token_id: number | null
  /** The last token that is generated when the text may not be longer, whatever the model says. */
  readonly forced_eos_token_id: number | null
}

/** Reads the special tokens; see {@link readTokenIds}. */
export function readSeq2SeqTokenIds(
  reader: ConfigReader,
  defaults: Seq2SeqTokenIds,
  vocabSize: number,
): Seq2SeqTokenIds {
  const { pad_token_id, bos_token_id, eos_token_id } = defaults
  const token = (key: 'decoder_start_token_id' | 'forced_bos_token_id' | 'forced_eos_token_id') =>
    reader.optionalInteger(key, defaults[key], { min: 0, max: vocabSize - 1 })
  return {
    ...readTokenIds(reader, { pad_token_id, bos_token_id, eos_token_id }, vocabSize),
    decoder_start_token_id: token('decoder_start_token_id'),
    forced_bos_token_id: token('forced_bos_token_id'),
    forced_eos_token_id: token('forced_eos_token_id'),
  }
}
