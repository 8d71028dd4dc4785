/** @file The file generation_config.json: how its authors would have a model generate. */
import type { GenerateOptions, GenerationDefaults } from '../models/generator.ts'
import { ConfigReader, type JsonObject, readTokenIds } from '../models/index.ts'
import { expectedOf } from './option-checks.ts'

const FILE = 'generation_config.json'

/** What generation_config.json says, as options of `generate`. */
export type GenerationConfig = GenerationDefaults

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

/** The options that the file can set, by its keys; those of tokens that may be damaged in old files are read apart. */
const KEYS: Record<string, Exclude<keyof GenerationConfig, 'eosTokenId' | 'padTokenId'>> = {
  max_new_tokens: 'maxNewTokens',
  max_length: 'maxLength',
  min_new_tokens: 'minNewTokens',
  min_length: 'minLength',
  do_sample: 'doSample',
  num_beams: 'numBeams',
  num_return_sequences: 'numReturnSequences',
  early_stopping: 'earlyStopping',
  length_penalty: 'lengthPenalty',
  temperature: 'temperature',
  top_k: 'topK',
  top_p: 'topP',
  min_p: 'minP',
  typical_p: 'typicalP',
  epsilon_cutoff: 'epsilonCutoff',
  eta_cutoff: 'etaCutoff',
  repetition_penalty: 'repetitionPenalty',
  encoder_repetition_penalty: 'encoderRepetitionPenalty',
  no_repeat_ngram_size: 'noRepeatNgramSize',
  encoder_no_repeat_ngram_size: 'encoderNoRepeatNgramSize',
  bad_words_ids: 'badWordsIds',
  sequence_bias: 'sequenceBias',
  exponential_decay_length_penalty: 'exponentialDecayLengthPenalty',
  renormalize_logits: 'renormalizeLogits',
  stop_strings: 'stopStrings',
  decoder_start_token_id: 'decoderStartTokenId',
  forced_bos_token_id: 'forcedBosTokenId',
  forced_eos_token_id: 'forcedEosTokenId',
  suppress_tokens: 'suppressTokens',
  begin_suppress_tokens: 'beginSuppressTokens',
}

/** Settings that change what is generated and are not computed here, with the value that changes nothing. */
const NEUTRAL: Record<string, unknown> = {
  num_beam_groups: 1,
  penalty_alpha: 0,
  diversity_penalty: 0,
  top_h: null,
  constraints: null,
  force_words_ids: null,
  guidance_scale: 1,
  dola_layers: null,
  watermarking_config: null,
  remove_invalid_values: false,
  prompt_lookup_num_tokens: null,
  assistant_early_exit: null,
  use_mtp: false,
  max_time: null,
}

/** Reads generation_config.json files. */
export const GenerationConfig = {
  /**
   * What generation_config.json in a model's folder says, which `generate` reads by itself. A file that is not there says
   * nothing.
   *
   * @throws when the file is not valid, or asks for something that is not computed, such as groups of beams
   * @example
   * const config = await GenerationConfig.fromPretrained(folder)
   * await model.generate(ids, { generationConfig: { ...config, doSample: false } })
   */
  async fromPretrained(folder: string): Promise<GenerationConfig> {
    const reader = await openFile(folder)
    if (!reader) return {}
    for (const [key, neutral] of Object.entries(NEUTRAL)) {
      const value = reader.get(key)
      if (value === undefined || value === null || value === neutral) continue
      reader.fail(
        key,
        `${JSON.stringify(neutral)}, since it is not computed`,
        'Give the options that you want as the option generationConfig of generate; {} for none.',
      )
    }
    const none = { pad_token_id: null, bos_token_id: null, eos_token_id: null }
    const { eos_token_id, pad_token_id } = readTokenIds(reader, none)
    const config: Record<string, unknown> = {}
    if (eos_token_id !== null) config.eosTokenId = eos_token_id
    if (pad_token_id !== null) config.padTokenId = pad_token_id
    for (const [key, name] of Object.entries(KEYS)) {
      const value = reader.get(key) ?? undefined
      if (value === undefined) continue
      const expected = expectedInFile(name, value)
      if (expected) reader.fail(key, expected)
      config[name] = value
    }
    return config
  },
}

function expectedInFile(name: keyof GenerateOptions, value: unknown): string | undefined {
  // Written by files that do not draw; where tokens are drawn it is refused.
  if (name === 'temperature' && value === 0) return undefined
  return expectedOf(name, value)
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
