/** @file The special tokens of a configuration. */
import { type ConfigReader, describeValue } from './reader.ts'

/** The special tokens of a model, by number; `null` where it has none. */
export interface TokenIds {
  readonly pad_token_id: number | null
  readonly bos_token_id: number | null
  /** Where generation ends; some models have several. */
  readonly eos_token_id: number | readonly number[] | null
}

/**
 * Reads the special tokens. A number outside the vocabulary is a warning, as in Transformers: published models have
 * them (`"pad_token_id": -1`).
 */
export function readTokenIds(reader: ConfigReader, defaults: TokenIds, vocabSize?: number): TokenIds {
  const ids = {
    pad_token_id: readOne(reader, 'pad_token_id', defaults.pad_token_id),
    bos_token_id: readOne(reader, 'bos_token_id', defaults.bos_token_id),
    eos_token_id: readSeveral(reader, 'eos_token_id', defaults.eos_token_id),
  }
  if (vocabSize === undefined) return ids
  for (const [key, value] of Object.entries(ids)) {
    // Only what the file itself says is worth a warning: defaults do not fit small vocabularies.
    if (reader.json[key] === undefined) continue
    for (const id of Array.isArray(value) ? value : [value]) {
      if (id !== null && (id < 0 || id >= vocabSize)) {
        reader.warnings.push(`"${key}" is ${id}, outside the vocabulary of ${vocabSize} tokens.`)
      }
    }
  }
  return ids
}

function readOne(reader: ConfigReader, key: string, fallback: number | null): number | null {
  return reader.optionalInteger(key, fallback, { min: Number.MIN_SAFE_INTEGER })
}

function readSeveral(reader: ConfigReader, key: string, fallback: TokenIds['eos_token_id']): TokenIds['eos_token_id'] {
  const value = reader.get(key)
  if (!Array.isArray(value)) {
    if (value === undefined) return fallback
    if (value === null || Number.isInteger(value)) return value as number | null
    return reader.fail(key, 'a whole number, a list of whole numbers or null')
  }
  const wrong = value.find(id => !Number.isInteger(id))
  if (wrong !== undefined) {
    reader.fail(key, `a whole number, a list of whole numbers or null (the entry ${describeValue(wrong)} is not)`)
  }
  return Object.freeze([...value]) as readonly number[]
}
