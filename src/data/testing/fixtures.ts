/** @file Fixtures for tests: two tiny tokenizers kept in the project, and the way to the shared data where it exists. */
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

/** A WordPiece tokenizer with [CLS] and [SEP], at most 32 tokens. */
export const tinyBertFolder = fileURLToPath(new URL('./tiny-bert', import.meta.url))

/** A byte-level BPE tokenizer with a beginning-of-text token, no padding token, and a chat template with tools. */
export const tinyLlamaFolder = fileURLToPath(new URL('./tiny-llama', import.meta.url))

/** The path of something in the shared folder beside the repository, or undefined on a machine without it. */
export function shared(...path: string[]): string | undefined {
  const full = resolve(fileURLToPath(new URL('../../../', import.meta.url)), '../shared', ...path)
  return existsSync(full) ? full : undefined
}
