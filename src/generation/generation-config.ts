/** @file The file generation_config.json: how its authors would have a model generate. */
import type { GenerateOptions } from '../models/generator.ts'
import { ConfigReader, type JsonObject, readTokenIds } from '../models/index.ts'

const FILE = 'generation_config.json'

/** The options that the file can set; spread it into the options of `generate`. */
export type GenerationConfig = Pick<
  GenerateOptions,
  | 'maxNewTokens'
  | 'minNewTokens'
  | 'doSample'
  | 'temperature'
  | 'topK'
  | 'topP'
  | 'repetitionPenalty'
  | 'eosTokenId'
  | 'padTokenId'
  | 'decoderStartTokenId'
  | 'forcedBosTokenId'
  | 'forcedEosTokenId'
  | 'suppressTokens'
  | 'beginSuppressTokens'
>

/** The special tokens among them. */
export type GenerationTokens = Pick<
  GenerationConfig,
  | 'eosTokenId'
  | 'padTokenId'
  | 'decoderStartTokenId'
  | 'forcedBosTokenId'
  | 'forcedEosTokenId'
  | 'suppressTokens'
  | 'beginSuppressTokens'
>

/** Settings that change what is generated and are not computed here, with the values that change nothing. */
const NEUTRAL: Record<string, readonly unknown[]> = {
  num_beams: [1],
  num_beam_groups: [1],
  num_return_sequences: [1],
  penalty_alpha: [0],
  no_repeat_ngram_size: [0],
  encoder_no_repeat_ngram_size: [0],
  encoder_repetition_penalty: [1],
  diversity_penalty: [0],
  min_p: [0],
  typical_p: [1],
  epsilon_cutoff: [0],
  eta_cutoff: [0],
  top_h: [1],
  min_length: [0],
  bad_words_ids: [],
  force_words_ids: [],
  sequence_bias: [],
  exponential_decay_length_penalty: [],
  guidance_scale: [1],
  dola_layers: [],
}

/** Reads generation_config.json files. */
export const GenerationConfig = {
  /**
   * What generation_config.json in a model's folder says. A file that is not there says nothing. Lengths that count the
   * prompt (`max_length`) are left to the caller: give `maxNewTokens`.
   *
   * @throws when the file is not valid, or asks for something that is not computed, such as beam search
   * @example
   * const config = await GenerationConfig.fromPretrained(folder)
   * await model.generate(ids, { ...config, maxNewTokens: 200 })
   */
  async fromPretrained(folder: string): Promise<GenerationConfig> {
    const reader = await openFile(folder)
    if (!reader) return {}
    for (const [key, values] of Object.entries(NEUTRAL)) {
      const value = reader.get(key)
      if (value === undefined || value === null || values.includes(value)) continue
      const expected = values.length ? JSON.stringify(values[0]) : 'null'
      reader.fail(key, `${expected}, since it is not computed`, 'Give the options of generate one by one.')
    }
    const integer = (key: string, min: number) => reader.optionalInteger(key, null, { min })
    const flag = reader.get('do_sample')
    return withoutNulls({
      ...readSpecialTokens(reader),
      doSample: flag === undefined || flag === null ? null : reader.boolean('do_sample', false),
      maxNewTokens: integer('max_new_tokens', 1),
      minNewTokens: integer('min_new_tokens', 0),
      topK: integer('top_k', 0),
      temperature: reader.optionalNumber('temperature', null),
      topP: reader.optionalNumber('top_p', null, { min: 0, max: 1 }),
      repetitionPenalty: reader.optionalNumber('repetition_penalty', null),
    })
  },
}

/** The special tokens that generation_config.json in `folder` names. */
export async function readGenerationConfig(folder: string): Promise<GenerationTokens> {
  const reader = await openFile(folder)
  return reader ? withoutNulls(readSpecialTokens(reader)) : {}
}

function readSpecialTokens(reader: ConfigReader) {
  const none = { pad_token_id: null, bos_token_id: null, eos_token_id: null }
  const { eos_token_id, pad_token_id } = readTokenIds(reader, none)
  const token = (key: string) => reader.optionalInteger(key, null, { min: 0 })
  const tokens = (key: string) => {
    const value = reader.get(key) ?? null
    const isList = Array.isArray(value) && value.every(id => Number.isInteger(id) && id >= 0)
    return value === null || isList ? (value as number[] | null) : reader.fail(key, 'a list of tokens or null')
  }
  return {
    eosTokenId: eos_token_id,
    padTokenId: pad_token_id,
    decoderStartTokenId: token('decoder_start_token_id'),
    forcedBosTokenId: token('forced_bos_token_id'),
    forcedEosTokenId: token('forced_eos_token_id'),
    suppressTokens: tokens('suppress_tokens'),
    beginSuppressTokens: tokens('begin_suppress_tokens'),
  }
}

async function openFile(folder: string): Promise<ConfigReader | undefined> {
  // Loaded here and not above, so that a browser can generate without Node's modules.
  const { readFile } = await import('node:fs/promises')
  const { join } = await import('node:path')
  const path = join(folder, FILE)
  let json: unknown
  try {
    json = JSON.parse(await readFile(path, 'utf8'))
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new Error(`${path} could not be read: ${(cause as Error).message}. Repair the file or remove it.`, { cause })
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw new Error(`${path} is ${JSON.stringify(json)}, expected a JSON object. Repair the file or remove it.`)
  }
  return new ConfigReader(json as JsonObject, path)
}

/** The entries that are not null. */
function withoutNulls<T extends object>(entries: T): { [K in keyof T]?: NonNullable<T[K]> } {
  return Object.fromEntries(Object.entries(entries).filter(([, value]) => value !== null)) as never
}
