/** @file The configuration of ALBERT. */
import { type BertFamilyConfig, type BertFields, readBertFields } from './bert.ts'
import type { ConfigReader } from './reader.ts'

interface AlbertFields extends BertFields {
  /** Width of the embeddings. */
  readonly embedding_size: number
  /** Groups of layers that have parameters of their own; within a group they are shared. */
  readonly num_hidden_groups: number
  /** Layers of a group, each with its own parameters. */
  readonly inner_group_num: number
}

/** The configuration of ALBERT (`model_type` "albert"). */
export interface AlbertConfig extends BertFamilyConfig, AlbertFields {
  readonly model_type: 'albert'
}

/** Reads an ALBERT configuration; absent keys are those of albert-xxlarge. */
export function parseAlbertConfig(reader: ConfigReader): AlbertFields {
  const shared = readBertFields(reader, {
    vocab_size: 30000,
    pad_token_id: 0,
    bos_token_id: 2,
    eos_token_id: 3,
    hidden_size: 4096,
    num_attention_heads: 64,
    intermediate_size: 16384,
    hidden_act: 'gelu_new',
    dropout: 0,
  })
  const num_hidden_groups = reader.integer('num_hidden_groups', 1, { max: shared.num_hidden_layers })
  return {
    ...shared,
    classifier_dropout: reader.optionalNumber('classifier_dropout_prob', 0.1, { min: 0, max: 1 }),
    embedding_size: reader.integer('embedding_size', 128),
    num_hidden_groups,
    inner_group_num: reader.integer('inner_group_num', 1),
  }
}
