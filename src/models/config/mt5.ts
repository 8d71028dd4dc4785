/** @file The configuration of mT5. */
import type { ConfigReader } from './reader.ts'
import { readT5Fields, type T5FamilyConfig, type T5Fields } from './t5.ts'

/** The configuration of mT5 (`model_type` "mt5"). */
export interface MT5Config extends T5FamilyConfig {
  readonly model_type: 'mt5'
}

/** Reads an mT5 configuration; absent keys are those of mt5-small. */
export function parseMT5Config(reader: ConfigReader): T5Fields {
  const fields = readT5Fields(reader, {
    vocab_size: 250112,
    d_ff: 1024,
    num_layers: 8,
    num_heads: 6,
    feed_forward_proj: 'gated-gelu',
    decoder_start_token_id: 0,
  })
  return { ...fields, scale_decoder_outputs: false }
}
