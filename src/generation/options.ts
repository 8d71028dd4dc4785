/** @file The options of a generation, checked and completed. */
import type { GenerateOptions, GenerationDefaults, TokenDecoder } from '../models/generator.ts'
import type { PretrainedConfig } from '../models/index.ts'
import type { SequenceBias } from './logits.ts'
import { checkOptions, expectedOf, fail } from './option-checks.ts'

/** What only matters when tokens are drawn. */
const SAMPLING = ['temperature', 'topK', 'topP', 'minP', 'typicalP', 'epsilonCutoff', 'etaCutoff', 'seed'] as const

/** What only matters to beams. */
const BEAMS = ['lengthPenalty', 'earlyStopping', 'renormalizeLogits'] as const

/** What decides about the tokens of one row. */
export interface ChoiceSettings {
  doSample: boolean
  temperature: number
  topK: number
  topP: number
  minP: number
  typicalP: number
  epsilonCutoff: number
  etaCutoff: number
  repetitionPenalty: number
  encoderRepetitionPenalty: number
  presencePenalty: number
  frequencyPenalty: number
  noRepeatNgramSize: number
  encoderNoRepeatNgramSize: number
  badWordsIds: readonly (readonly number[])[]
  sequenceBias: SequenceBias
  logitBias: Readonly<Record<number, number>>
  exponentialDecayLengthPenalty: readonly [start: number, factor: number] | null
  minNewTokens: number
  minLength: number
  /** Undefined where {@link maxLength} limits a row. */
  maxNewTokens: number | undefined
  maxLength: number | undefined
  stopStrings: readonly string[]
  tokenizer?: TokenDecoder
  logprobs: boolean
  topLogprobs: number
  seed: number
  /** How many positions the model was made for; Infinity where the configuration does not say. */
  maxPositions: number
}

/** Options with their defaults, and what the configuration limits. */
export interface GenerationSettings
  extends Omit<GenerateOptions, keyof ChoiceSettings | 'onToken' | 'generationConfig'>,
    ChoiceSettings {
  numBeams: number
  numReturnSequences: number
  earlyStopping: boolean | 'never'
  lengthPenalty: number
  renormalizeLogits: boolean
  cacheBucket: number
  prefillChunk: number
  vocabSize: number
}

/** What holds where nothing else is said: Transformers' defaults, and ours for what it does not have. */
export const DEFAULTS = {
  doSample: false,
  numBeams: 1,
  numReturnSequences: 1,
  earlyStopping: false,
  lengthPenalty: 1,
  renormalizeLogits: false,
  temperature: 1,
  topK: 50,
  topP: 1,
  minP: 0,
  typicalP: 1,
  epsilonCutoff: 0,
  etaCutoff: 0,
  repetitionPenalty: 1,
  encoderRepetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  noRepeatNgramSize: 0,
  encoderNoRepeatNgramSize: 0,
  badWordsIds: [],
  sequenceBias: [],
  logitBias: {},
  exponentialDecayLengthPenalty: null,
  minNewTokens: 0,
  minLength: 0,
  logprobs: false,
  topLogprobs: 0,
  cacheBucket: 64,
  prefillChunk: 512,
} as const satisfies Partial<GenerationSettings>

/** How long new texts may be where no length is said, as in Transformers. */
const MAX_NEW_TOKENS = 20

/** What the configuration of a model limits. */
export interface ModelLimits {
  vocabSize: number
  /** How many positions the model was made for; Infinity where the configuration does not say. */
  maxPositions: number
}

/** The limits of a model with this configuration. */
export function limitsOf(config: PretrainedConfig): ModelLimits {
  const fields = config as PretrainedConfig & Record<string, unknown>
  return {
    vocabSize: fields.vocab_size as number,
    maxPositions: (fields.max_position_embeddings as number | undefined) ?? Number.POSITIVE_INFINITY,
  }
}

/** Throws for the first option that is wrong by itself or together with another that was given. */
export function checkGiven(options: GenerateOptions, { vocabSize }: ModelLimits): void {
  checkOptions(options, vocabSize)
  const { maxNewTokens, maxLength, minNewTokens, minLength, decoderInputIds, decoderStartTokenId } = options
  refuseBoth({ maxNewTokens, maxLength })
  refuseBoth({ minNewTokens, minLength })
  if (decoderInputIds && decoderStartTokenId !== undefined && decoderStartTokenId !== decoderInputIds[0]) {
    fail('decoderStartTokenId', decoderStartTokenId, `the first of decoderInputIds (${decoderInputIds[0]})`)
  }
  if (options.topLogprobs && !options.logprobs) {
    throw new Error(`generate: topLogprobs is ${options.topLogprobs} without logprobs; give logprobs: true as well`)
  }
}

function refuseBoth(pair: Record<string, number | undefined>): void {
  const [[first, a], [second, b]] = Object.entries(pair)
  if (a === undefined || b === undefined) return
  throw new Error(
    `generate: got ${first} (${a}) and ${second} (${b}), expected one of them; ${second} counts the prompt`,
  )
}

/**
 * Completes options that were checked: those that were given, else what `defaults` (a folder's generation_config.json)
 * say, else Transformers' defaults. A length that was given replaces both lengths of the defaults.
 *
 * @throws when options contradict each other or have no effect
 */
export function resolveSettings(
  options: GenerateOptions,
  limits: ModelLimits,
  defaults: GenerationDefaults = {},
): GenerationSettings {
  const { generationConfig: _, onToken: __, ...given } = definedEntries(options)
  const merged: Omit<GenerateOptions, 'generationConfig' | 'onToken'> = { ...lengthsBeside(given, defaults), ...given }
  const values = Object.entries(DEFAULTS).map(([name, value]) => [name, merged[name as keyof typeof DEFAULTS] ?? value])
  const completed: Pick<GenerationSettings, keyof typeof DEFAULTS> = Object.fromEntries(values)
  const settings: GenerationSettings = {
    ...merged,
    ...limits,
    ...completed,
    // As in Transformers, where both are said.
    minLength: merged.minNewTokens === undefined ? completed.minLength : 0,
    maxNewTokens: merged.maxNewTokens ?? (merged.maxLength === undefined ? MAX_NEW_TOKENS : undefined),
    maxLength: merged.maxNewTokens === undefined ? merged.maxLength : undefined,
    stopStrings: [merged.stopStrings ?? []].flat(),
    seed: merged.seed ?? crypto.getRandomValues(new Uint32Array(1))[0],
  }
  refuseWithoutEffect(given, settings)
  refuseShorter(given, settings)
  checkTogether(settings)
  return settings
}

/** The most new tokens of a row. Throws where there is no room for one. */
export function newTokenLimit(settings: Pick<ChoiceSettings, 'maxNewTokens' | 'maxLength'>, beginning: number): number {
  const limit = settings.maxNewTokens ?? settings.maxLength! - beginning
  if (limit >= 1) return limit
  throw new Error(
    `generate: maxLength is ${settings.maxLength}, which counts the ${beginning} tokens that stand before the new ones; ` +
      'give maxNewTokens, or a maxLength above that',
  )
}

/** `defaults` without the lengths that those which were given replace. */
function lengthsBeside(given: GenerateOptions, defaults: GenerationDefaults): GenerationDefaults {
  const rest = { ...defaults }
  if (given.maxNewTokens !== undefined || given.maxLength !== undefined) {
    rest.maxNewTokens = rest.maxLength = undefined
  }
  if (given.minNewTokens !== undefined || given.minLength !== undefined) {
    rest.minNewTokens = rest.minLength = undefined
  }
  return rest
}

function refuseWithoutEffect(given: GenerateOptions, { doSample, numBeams }: GenerationSettings): void {
  const has = (names: readonly string[]) => `${names.join(', ')} ${names.length > 1 ? 'have' : 'has'} no effect`
  const drawing = SAMPLING.filter(name => given[name] !== undefined)
  if (given.doSample === undefined && !doSample && drawing.length) {
    throw new Error(
      `generate: ${has(drawing)} on the most likely tokens; ` +
        'give doSample: true to draw, or doSample: false to keep the most likely ones',
    )
  }
  const searching = BEAMS.filter(name => given[name] !== undefined)
  if (given.numBeams === undefined && numBeams === 1 && searching.length) {
    throw new Error(`generate: ${has(searching)} without beams; give numBeams as well`)
  }
}

/** Refuses a least length that was asked for and cannot be reached. One of a file only keeps the text from ending. */
function refuseShorter({ minNewTokens, minLength }: GenerateOptions, settings: GenerationSettings): void {
  const { maxNewTokens, maxLength } = settings
  if (minNewTokens !== undefined && maxNewTokens !== undefined && minNewTokens > maxNewTokens) {
    fail('minNewTokens', minNewTokens, `a whole number from 0 to maxNewTokens (${maxNewTokens})`)
  }
  if (minLength !== undefined && maxLength !== undefined && minLength > maxLength) {
    fail('minLength', minLength, `a whole number from 0 to maxLength (${maxLength})`)
  }
}

function checkTogether(settings: GenerationSettings): void {
  const { doSample, numBeams, numReturnSequences: count } = settings
  // Files that do not draw may hold a temperature of 0.
  const expected = doSample && expectedOf('temperature', settings.temperature)
  if (expected) fail('temperature', settings.temperature, expected)
  if (numBeams > 1 && count > numBeams) fail('numReturnSequences', count, `at most numBeams (${numBeams})`)
  if (numBeams === 1 && !doSample && count > 1) {
    fail('numReturnSequences', count, '1, since the most likely tokens are always the same; give doSample or numBeams')
  }
}

function definedEntries<T extends object>(entries: T): T {
  return Object.fromEntries(Object.entries(entries).filter(([, value]) => value !== undefined)) as T
}
