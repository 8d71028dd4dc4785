/** @file The changes of scores that options ask for, in the order in which Transformers makes them. */
import type { TokenHistory } from './history.ts'
import {
  addSequenceBias,
  forbid,
  forbidNgrams,
  force,
  penalizeGenerated,
  penalizeRepetition,
  raiseEnd,
  type SequenceBias,
} from './logits.ts'
import type { SpecialTokens } from './model-files.ts'
import type { ChoiceSettings } from './options.ts'

/** Changes the scores of a row's next token in place. */
export type LogitsProcessor = (scores: Float32Array, history: TokenHistory) => void

/** What processors depend on beside the settings. */
export interface ProcessorContext {
  tokens: SpecialTokens
  /** How many tokens the decoder reads before the first new one. */
  beginning: number
  /** The most new tokens. */
  maxNewTokens: number
  /** What an encoder read, or the prompt where there is none; undefined for recordings. */
  source: readonly number[] | undefined
}

/**
 * The processors that `settings` ask for; none for plain settings. OpenAI's `logitBias` stands beside `sequenceBias`,
 * its penalties behind `repetitionPenalty`.
 */
export function logitsProcessors(settings: ChoiceSettings, context: ProcessorContext): LogitsProcessor[] {
  const { tokens, beginning, maxNewTokens } = context
  const { eosTokenIds, forcedBosTokenId, forcedEosTokenId, suppressTokens, beginSuppressTokens } = tokens
  const { repetitionPenalty, presencePenalty, frequencyPenalty, encoderRepetitionPenalty, minLength } = settings
  const { noRepeatNgramSize, encoderNoRepeatNgramSize, minNewTokens } = settings
  const { exponentialDecayLengthPenalty: decay } = settings
  const source = () => context.source ?? refuseRecordings()
  const processors: LogitsProcessor[] = []
  const add = (isWanted: unknown, processor: () => LogitsProcessor): void => {
    if (isWanted) processors.push(processor())
  }

  const biases = [...settings.sequenceBias, ...logitBiases(settings.logitBias)]
  add(
    biases.length,
    () =>
      (scores, { tokens }) =>
        addSequenceBias(scores, tokens, biases),
  )
  add(encoderRepetitionPenalty !== 1, () => {
    const seen = new Set(source())
    return scores => penalizeRepetition(scores, seen, 1 / encoderRepetitionPenalty)
  })
  add(
    repetitionPenalty !== 1,
    () =>
      (scores, { seen }) =>
        penalizeRepetition(scores, seen, repetitionPenalty),
  )
  add(presencePenalty !== 0 || frequencyPenalty !== 0, () => {
    const penalties = { presence: presencePenalty, frequency: frequencyPenalty }
    return (scores, { counts }) => penalizeGenerated(scores, counts, penalties)
  })
  add(
    noRepeatNgramSize,
    () =>
      (scores, { tokens }) =>
        forbidNgrams(scores, tokens, tokens, noRepeatNgramSize),
  )
  add(encoderNoRepeatNgramSize, () => {
    const read = source()
    return (scores, { tokens }) => forbidNgrams(scores, read, tokens, encoderNoRepeatNgramSize)
  })
  const badWords: SequenceBias = settings.badWordsIds
    .filter(word => !(word.length === 1 && eosTokenIds.includes(word[0])))
    .map(word => [word, Number.NEGATIVE_INFINITY])
  add(
    badWords.length,
    () =>
      (scores, { tokens }) =>
        addSequenceBias(scores, tokens, badWords),
  )
  const least = Math.max(minLength, minNewTokens > 0 ? beginning + minNewTokens : 0)
  add(least > beginning && eosTokenIds.length, () => (scores, { tokens }) => {
    if (tokens.length < least) forbid(scores, eosTokenIds)
  })
  // A beginning of several tokens says itself how the text begins.
  const forcesFirst = forcedBosTokenId !== null && beginning === 1
  add(forcesFirst, () => (scores, { added }) => {
    if (added === 0) force(scores, forcedBosTokenId!)
  })
  add(forcedEosTokenId !== null, () => (scores, { added }) => {
    if (added === maxNewTokens - 1) force(scores, forcedEosTokenId!)
  })
  add(decay && eosTokenIds.length, () => (scores, { added }) => {
    const [start, factor] = decay!
    if (added > start) raiseEnd(scores, eosTokenIds, factor, added - start)
  })
  add(suppressTokens.length, () => scores => forbid(scores, suppressTokens))
  add(beginSuppressTokens.length, () => (scores, { added }) => {
    if (added === (forcesFirst ? 1 : 0)) forbid(scores, beginSuppressTokens)
  })
  return processors
}

function logitBiases(biases: Readonly<Record<number, number>>): SequenceBias {
  return Object.entries(biases).map(([token, bias]) => [[Number(token)], bias])
}

function refuseRecordings(): never {
  throw new Error(
    'generate: encoderRepetitionPenalty and encoderNoRepeatNgramSize need the tokens of a prompt, but the model hears ' +
      'recordings; leave them out',
  )
}
