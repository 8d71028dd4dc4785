/** @file The configurations of RoBERTa and XLM-RoBERTa. */
import { type BertFamilyConfig, type BertFields, readBertFields } from './bert.ts'
import type { ConfigReader } from './reader.ts'

/** The configuration of RoBERTa or XLM-RoBERTa. */
export interface RobertaFamilyConfig extends BertFamilyConfig {
  /** Positions are counted from behind this number. */
  readonly pad_token_id: number
}

/** The configuration of RoBERTa (`model_type` "roberta"). */
export interface RobertaConfig extends RobertaFamilyConfig {
  readonly model_type: 'roberta'
}

/** The configuration of XLM-RoBERTa (`model_type` "xlm-roberta"). */
export interface XLMRobertaConfig extends RobertaFamilyConfig {
  readonly model_type: 'xlm-roberta'
}

const TOKENS = { pad_token_id: 1, bos_token_id: 0, eos_token_id: 2 }

/** Reads a RoBERTa configuration; absent keys are those of Transformers. */
export function parseRobertaConfig(reader: ConfigReader): BertFields {
  return requirePadding(reader, readBertFields(reader, { ...TOKENS, vocab_size: 50265 }))
}

/** Reads an XLM-RoBERTa configuration; absent keys are those of Transformers. */
export function parseXLMRobertaConfig(reader: ConfigReader): BertFields {
  return requirePadding(reader, readBertFields(reader, { ...TOKENS, vocab_size: 30522 }))
}

function requirePadding(reader: ConfigReader, fields: BertFields): BertFields {
  if (fields.pad_token_id === null || fields.pad_token_id < 0) {
    reader.fail('pad_token_id', 'a token', 'Positions are counted from it; the published models have 1.')
  }
  return fields
}
