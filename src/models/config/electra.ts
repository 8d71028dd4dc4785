/** @file The configuration of ELECTRA. */
import { type BertFamilyConfig, type BertFields, readBertFields } from './bert.ts'
import type { ConfigReader } from './reader.ts'

interface ElectraFields extends BertFields {
  /** Width of the embeddings. */
  readonly embedding_size: number
}

/** The configuration of ELECTRA (`model_type` "electra"). */
export interface ElectraConfig extends BertFamilyConfig, ElectraFields {
  readonly model_type: 'electra'
}

/** Reads an ELECTRA configuration; absent keys are those of electra-small. */
export function parseElectraConfig(reader: ConfigReader): ElectraFields {
  const shared = readBertFields(reader, {
    vocab_size: 30522,
    pad_token_id: 0,
    bos_token_id: null,
    eos_token_id: null,
    hidden_size: 256,
    num_attention_heads: 4,
    intermediate_size: 1024,
  })
  return { ...shared, embedding_size: reader.integer('embedding_size', 128) }
}
