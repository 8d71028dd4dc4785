/** @file What each option of a generation may be. */
import type { GenerateOptions } from '../models/generator.ts'
import { didYouMean } from '../util/nearest.ts'

/** Says what an option may be where `value` is not right; undefined where it is. */
type Check = (value: unknown, vocabSize: number) => string | undefined

const isWhole = (value: unknown, least: number): value is number =>
  Number.isSafeInteger(value) && Number(value) >= least
const isNumber = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value)

const whole =
  (least: number, meaning = ''): Check =>
  value =>
    isWhole(value, least) ? undefined : `a whole number of at least ${least}${meaning}`

const numeric =
  (isRight: (value: number) => boolean, expected: string): Check =>
  value =>
    isNumber(value) && isRight(value) ? undefined : expected

const flag: Check = value => (typeof value === 'boolean' ? undefined : 'true or false')
const anything: Check = () => undefined
const orNull =
  (check: Check): Check =>
  (value, vocabSize) =>
    value === null ? undefined : check(value, vocabSize)

const share = numeric(value => value >= 0 && value <= 1, 'a number from 0 to 1')
const cutoff = numeric(value => value >= 0 && value < 1, 'a number from 0 to below 1 (0 for none)')
const factor = numeric(value => value > 0, 'a number above 0 (1 for none)')
const anyNumber = numeric(() => true, 'a number')

const isToken = (value: unknown, vocabSize: number): boolean => isWhole(value, 0) && value < vocabSize
const ofVocabulary = (vocabSize: number): string =>
  Number.isFinite(vocabSize) ? `of the vocabulary, 0 to ${vocabSize - 1}` : 'of the vocabulary'
const token: Check = (value, vocabSize) =>
  isToken(value, vocabSize) ? undefined : `a token ${ofVocabulary(vocabSize)}`
const tokens: Check = (value, vocabSize) =>
  Array.isArray(value) && value.every(id => isToken(id, vocabSize))
    ? undefined
    : `a list of tokens ${ofVocabulary(vocabSize)}`
const tokenOrTokens: Check = (value, vocabSize) => (Array.isArray(value) ? tokens : token)(value, vocabSize)

const isSequence = (value: unknown, vocabSize: number): boolean =>
  Array.isArray(value) && value.length > 0 && value.every(id => isToken(id, vocabSize))

const sequences: Check = (value, vocabSize) =>
  Array.isArray(value) && value.every(sequence => isSequence(sequence, vocabSize))
    ? undefined
    : `a list of lists of tokens ${ofVocabulary(vocabSize)}, none of them empty`

const biases: Check = (value, vocabSize) => {
  const isPair = (pair: unknown) =>
    Array.isArray(pair) && pair.length === 2 && isSequence(pair[0], vocabSize) && isNumber(pair[1])
  return Array.isArray(value) && value.every(isPair)
    ? undefined
    : `pairs of a list of tokens ${ofVocabulary(vocabSize)} and a number, such as [[[5, 9], -2]]`
}

const biasOfTokens: Check = (value, vocabSize) => {
  const isBias = ([id, bias]: [string, unknown]) => /^\d+$/.test(id) && isToken(Number(id), vocabSize) && isNumber(bias)
  const isRecord = typeof value === 'object' && value !== null && !Array.isArray(value)
  return isRecord && Object.entries(value).every(isBias)
    ? undefined
    : `numbers by tokens ${ofVocabulary(vocabSize)}, such as { 50256: -100 }`
}

const decay: Check = value =>
  Array.isArray(value) && value.length === 2 && isWhole(value[0], 0) && isNumber(value[1]) && value[1] > 0
    ? undefined
    : 'a number of new tokens and a factor above 0, such as [20, 1.05]'

const texts: Check = value =>
  [value].flat().every(text => typeof text === 'string' && text !== '') ? undefined : 'texts of at least one character'

const CHECKS: Record<keyof GenerateOptions, Check> = {
  generationConfig: value =>
    typeof value === 'object' && value !== null ? undefined : 'options of generate; {} for its defaults',
  maxNewTokens: whole(1),
  maxLength: whole(1),
  minNewTokens: whole(0),
  minLength: whole(0),
  doSample: flag,
  numBeams: whole(1),
  numReturnSequences: whole(1),
  earlyStopping: value => (typeof value === 'boolean' || value === 'never' ? undefined : "true, false or 'never'"),
  lengthPenalty: anyNumber,
  temperature: numeric(value => value > 0, 'a number above 0; for the most likely tokens leave out doSample'),
  topK: whole(0, ' (0 for all tokens)'),
  topP: share,
  minP: share,
  typicalP: numeric(value => value > 0 && value <= 1, 'a number above 0, up to 1 (1 for all tokens)'),
  epsilonCutoff: cutoff,
  etaCutoff: cutoff,
  repetitionPenalty: factor,
  encoderRepetitionPenalty: factor,
  presencePenalty: anyNumber,
  frequencyPenalty: anyNumber,
  noRepeatNgramSize: whole(0, ' (0 for none)'),
  encoderNoRepeatNgramSize: whole(0, ' (0 for none)'),
  badWordsIds: orNull(sequences),
  sequenceBias: orNull(biases),
  logitBias: orNull(biasOfTokens),
  exponentialDecayLengthPenalty: orNull(decay),
  renormalizeLogits: flag,
  logprobs: flag,
  topLogprobs: whole(0),
  seed: anyNumber,
  eosTokenId: orNull(tokenOrTokens),
  padTokenId: token,
  decoderStartTokenId: token,
  decoderInputIds: (value, vocabSize) =>
    Array.isArray(value) && value.length === 0 ? 'at least one token, the start' : tokens(value, vocabSize),
  forcedBosTokenId: orNull(token),
  forcedEosTokenId: orNull(token),
  suppressTokens: orNull(tokens),
  beginSuppressTokens: orNull(tokens),
  stopStrings: texts,
  tokenizer: anything,
  signal: anything,
  adapterNames: anything,
  onToken: anything,
  engine: anything,
  mode: anything,
  threads: anything,
  dequantize: anything,
  mapOnce: anything,
  quantizedProducts: anything,
  keepPacked: anything,
  cacheBucket: whole(1),
  prefillChunk: whole(1),
}

/** Options of Transformers that ask for what is not computed here, and what to do in their place. */
const REFUSED: Record<string, string> = {
  numBeamGroups: 'groups of beams',
  diversityPenalty: 'groups of beams',
  constraints: 'constrained beams',
  forceWordsIds: 'constrained beams',
  penaltyAlpha: 'contrastive search',
  dolaLayers: 'DoLa',
  assistantModel: 'assisted generation',
  promptLookupNumTokens: 'assisted generation',
  guidanceScale: 'classifier-free guidance',
  watermarkingConfig: 'watermarks',
  topH: 'top-H sampling',
  maxTime: 'a limit of time (give an AbortSignal.timeout as signal)',
}

/** Throws for the first option that does not exist or is not what it may be. Those that are undefined are not given. */
export function checkOptions(options: GenerateOptions, vocabSize: number): void {
  for (const [name, value] of Object.entries(options)) {
    if (name in REFUSED)
      throw new Error(`generate: ${name} asks for ${REFUSED[name]}, which is not computed; leave it out`)
    if (!(name in CHECKS)) {
      throw new Error(`generate: there is no option "${name}".${didYouMean(name, Object.keys(CHECKS))}`)
    }
    if (value === undefined) continue
    const expected = expectedOf(name as keyof GenerateOptions, value, vocabSize)
    if (expected) fail(name, value, expected)
  }
}

/** What option `name` may be, where `value` is not right. */
export function expectedOf(
  name: keyof GenerateOptions,
  value: unknown,
  vocabSize = Number.POSITIVE_INFINITY,
): string | undefined {
  return CHECKS[name](value, vocabSize)
}

/** Throws the error about an option. */
export function fail(name: string, value: unknown, expected: string): never {
  const shown = typeof value === 'object' || typeof value === 'string' ? JSON.stringify(value) : String(value)
  throw new Error(`generate: ${name} is ${shown}, expected ${expected}`)
}
