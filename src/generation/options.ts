/** @file The options of a generation, checked and completed. */
import type { GenerateOptions, TokenDecoder } from '../models/generator.ts'
import type { PretrainedConfig } from '../models/index.ts'
import { didYouMean } from '../util/nearest.ts'

/** Every option, so that a mistyped one is told. */
const NAMES: Record<keyof GenerateOptions, true> = {
  maxNewTokens: true,
  minNewTokens: true,
  doSample: true,
  temperature: true,
  topK: true,
  topP: true,
  repetitionPenalty: true,
  seed: true,
  eosTokenId: true,
  padTokenId: true,
  decoderStartTokenId: true,
  decoderInputIds: true,
  forcedBosTokenId: true,
  forcedEosTokenId: true,
  suppressTokens: true,
  beginSuppressTokens: true,
  stopStrings: true,
  tokenizer: true,
  signal: true,
  adapterNames: true,
  onToken: true,
  engine: true,
  mode: true,
  threads: true,
  cacheBucket: true,
}

/** What only matters when tokens are drawn. */
const SAMPLING = ['temperature', 'topK', 'topP', 'seed'] as const

/** Options that are tokens. */
const TOKENS = [
  'eosTokenId',
  'padTokenId',
  'decoderStartTokenId',
  'decoderInputIds',
  'forcedBosTokenId',
  'forcedEosTokenId',
  'suppressTokens',
  'beginSuppressTokens',
] as const

/** Options with their defaults, and what the configuration limits. */
export interface GenerationSettings extends Omit<GenerateOptions, 'stopStrings' | 'onToken'> {
  maxNewTokens: number
  minNewTokens: number
  doSample: boolean
  temperature: number
  topK: number
  topP: number
  repetitionPenalty: number
  seed: number
  stopStrings: readonly string[]
  tokenizer?: TokenDecoder
  cacheBucket: number
  vocabSize: number
  /** How many positions the model was made for; Infinity where the configuration does not say. */
  maxPositions: number
  /** How far back its layers see; Infinity unless some have a sliding window. */
  window: number
}

/** Checks the options and fills in the defaults. Throws for the first that is wrong. */
export function resolveSettings(options: GenerateOptions, config: PretrainedConfig): GenerationSettings {
  for (const name of Object.keys(options)) {
    if (!(name in NAMES))
      throw new Error(`generate: there is no option "${name}".${didYouMean(name, Object.keys(NAMES))}`)
  }
  const { doSample = false, maxNewTokens = 20, minNewTokens = 0, temperature = 1, topK = 50, topP = 1 } = options
  const { repetitionPenalty = 1, cacheBucket = 64 } = options
  const fields = config as PretrainedConfig & Record<string, unknown>
  const vocabSize = fields.vocab_size as number
  const stopStrings = typeof options.stopStrings === 'string' ? [options.stopStrings] : (options.stopStrings ?? [])

  check('maxNewTokens', maxNewTokens, isWhole(maxNewTokens, 1), 'a whole number of at least 1')
  const fitting = isWhole(minNewTokens, 0) && minNewTokens <= maxNewTokens
  check('minNewTokens', minNewTokens, fitting, `a whole number from 0 to maxNewTokens (${maxNewTokens})`)
  const way = 'a number above 0; for the most likely tokens leave out doSample'
  check('temperature', temperature, Number.isFinite(temperature) && temperature > 0, way)
  check('topK', topK, isWhole(topK, 0), 'a whole number of at least 0 (0 for all tokens)')
  check('topP', topP, topP >= 0 && topP <= 1, 'a number from 0 to 1')
  const positive = Number.isFinite(repetitionPenalty) && repetitionPenalty > 0
  check('repetitionPenalty', repetitionPenalty, positive, 'a number above 0 (1 for none)')
  check('cacheBucket', cacheBucket, isWhole(cacheBucket, 1), 'a whole number of at least 1')
  const seeded = options.seed === undefined || Number.isFinite(options.seed)
  check('seed', options.seed, seeded, 'a number')
  for (const name of TOKENS) {
    for (const id of [options[name] ?? []].flat()) {
      check(name, id, isWhole(id, 0) && id < vocabSize, `a token of the vocabulary, 0 to ${vocabSize - 1}`)
    }
  }
  const { decoderInputIds, decoderStartTokenId } = options
  if (decoderInputIds) {
    check('decoderInputIds', '[]', decoderInputIds.length > 0, 'at least one token, the start')
    const both = decoderStartTokenId !== undefined && decoderStartTokenId !== decoderInputIds[0]
    check('decoderStartTokenId', decoderStartTokenId, !both, `the first of decoderInputIds (${decoderInputIds[0]})`)
  }
  for (const text of stopStrings) {
    check('stopStrings', text, typeof text === 'string' && text !== '', 'texts of at least one character')
  }
  if (stopStrings.length && !options.tokenizer) {
    throw new Error('generate: stopStrings were given without a tokenizer, which is needed to find them; give both')
  }
  const unused = SAMPLING.filter(name => options[name] !== undefined)
  if (options.doSample === undefined && unused.length) {
    throw new Error(
      `generate: ${unused.join(', ')} ${unused.length > 1 ? 'have' : 'has'} no effect on the most likely tokens; ` +
        'give doSample: true to draw, or doSample: false to keep the most likely ones',
    )
  }
  return {
    ...options,
    ...{ doSample, maxNewTokens, minNewTokens, temperature, topK, topP, repetitionPenalty, cacheBucket, stopStrings },
    seed: options.seed ?? crypto.getRandomValues(new Uint32Array(1))[0],
    vocabSize,
    maxPositions: (fields.max_position_embeddings as number | undefined) ?? Number.POSITIVE_INFINITY,
    window: slidingWindow(fields),
  }
}

function slidingWindow({ layer_types: types, sliding_window: window }: Record<string, unknown>): number {
  const slides = !Array.isArray(types) || types.includes('sliding_attention')
  return slides && typeof window === 'number' && window > 0 ? window : Number.POSITIVE_INFINITY
}

function isWhole(value: number, min: number): boolean {
  return Number.isSafeInteger(value) && value >= min
}

function check(name: string, value: unknown, isRight: boolean, expected: string): void {
  if (isRight) return
  throw new Error(
    `generate: ${name} is ${typeof value === 'string' ? JSON.stringify(value) : value}, expected ${expected}`,
  )
}
