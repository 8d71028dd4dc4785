/** @file Choosing the tokens of rows: processors against Transformers, penalties, limits, ends, log-probabilities. */
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { GenerateOptions } from '../models/generator.ts'
import { processed, TokenChooser } from './chooser.ts'
import { TokenHistory } from './history.ts'
import type { SpecialTokens } from './model-files.ts'
import { resolveSettings } from './options.ts'
import { logitsProcessors } from './processors.ts'
import { characters } from './testing/tiny.ts'

interface Golden {
  scores: number[]
  ids: number[]
  source: number[]
  processors: { name: string; options: GenerateOptions; expected: (number | null)[] }[]
}

// By golden.py in the same folder, with transformers 5.23 and torch 2.15.
const golden: Golden = JSON.parse(readFileSync(new URL('testing/golden.json', import.meta.url), 'utf8'))

const limits = { vocabSize: golden.scores.length, maxPositions: Number.POSITIVE_INFINITY }
const settingsOf = (options: GenerateOptions) => resolveSettings({ seed: 1, doSample: false, ...options }, limits)

const tokensOf = (options: GenerateOptions = {}): SpecialTokens => ({
  eosTokenIds: [options.eosTokenId ?? []].flat(),
  padTokenId: 0,
  decoderStartTokenId: null,
  forcedBosTokenId: options.forcedBosTokenId ?? null,
  forcedEosTokenId: options.forcedEosTokenId ?? null,
  suppressTokens: options.suppressTokens ?? [],
  beginSuppressTokens: options.beginSuppressTokens ?? [],
})

/** What the processors make of `scores` after `added` new tokens at the end of `ids`. */
function processedScores(options: GenerateOptions, ids: readonly number[], added: number): number[] {
  const history = new TokenHistory(ids.slice(0, ids.length - added))
  for (const token of ids.slice(ids.length - added)) history.push(token)
  const settings = settingsOf(options)
  const processors = logitsProcessors(settings, {
    tokens: tokensOf(options),
    beginning: history.beginning,
    maxNewTokens: settings.maxNewTokens!,
    source: golden.source,
  })
  return [...processed(Float32Array.from(golden.scores), processors, history)]
}

/** A chooser behind `beginning`. */
const chooserOf = (options: GenerateOptions = {}, beginning: number[] = [1], row = 0) =>
  new TokenChooser({ settings: settingsOf(options), tokens: tokensOf(options), beginning, source: beginning, row })

const logits = Float32Array.from(golden.scores)

describe("Transformers' processors", () => {
  it.each(golden.processors.map(({ name, ...rest }) => [name, rest] as const))('%s', (_, { options, expected }) => {
    const got = processedScores({ eosTokenId: [5, 6], ...options }, golden.ids, 2)
    expect(got.map(score => (score === Number.NEGATIVE_INFINITY ? null : score))).toEqual(
      expected.map(score => (score === null ? null : expect.closeTo(score, 5))),
    )
  })

  it('beginSuppressTokens at the beginning, behind a forced first token one later', () => {
    const options = { beginSuppressTokens: [0, 11] }
    const impossible = (scores: number[]) => scores.flatMap((score, id) => (score === -Infinity ? [id] : []))
    expect(impossible(processedScores(options, golden.ids, 0))).toEqual([0, 11])
    const forced = { ...options, forcedBosTokenId: 4 }
    expect(impossible(processedScores(forced, [3], 0))).toHaveLength(11)
    expect(impossible(processedScores(forced, [3, 4], 1))).toEqual([0, 11])
    // A beginning of several tokens is not forced.
    expect(impossible(processedScores(forced, golden.ids, 0))).toEqual([0, 11])
  })

  it('are none for plain settings', () => {
    const context = { tokens: tokensOf({ eosTokenId: 5 }), beginning: 3, maxNewTokens: 20, source: [1] }
    expect(logitsProcessors(settingsOf({}), context)).toEqual([])
  })
})

describe("OpenAI's penalties", () => {
  it('take from new tokens alone, once and for each time', () => {
    const got = processedScores({ presencePenalty: 0.5, frequencyPenalty: 0.25 }, [0, 0, 3, 6, 3], 3)
    const expected = golden.scores.slice()
    expected[3] -= 0.5 + 2 * 0.25
    expected[6] -= 0.5 + 0.25
    expect(got).toEqual(expected)
  })

  it('add what logitBias says', () => {
    const got = processedScores({ logitBias: { 2: 5, 6: -100 } }, golden.ids, 2)
    expect(got).toEqual(golden.scores.map((score, id) => score + ({ 2: 5, 6: -100 }[id] ?? 0)))
  })
})

describe('TokenChooser', () => {
  it('leaves the logits as they are', () => {
    const given = logits.slice()
    chooserOf({ repetitionPenalty: 2, logitBias: { 1: 3 } }).next(given)
    chooserOf({ doSample: true, temperature: 0.5, topP: 0.9 }).next(given)
    expect(given).toEqual(logits)
  })

  it('forgets no token that would complete an n-gram again', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 3 }), fc.integer(), (size, seed) => {
        const chooser = chooserOf(
          { noRepeatNgramSize: size, doSample: true, temperature: 3, seed, maxNewTokens: 10 },
          [3],
        )
        while (!chooser.finished) chooser.next(logits)
        const tokens = [3, ...chooser.newTokens]
        const grams = tokens.slice(size - 1).map((_, i) => tokens.slice(i, i + size).join())
        return new Set(grams).size === grams.length
      }),
    )
  })

  it('draws by its seed and row', () => {
    const draw = (seed: number, row: number) => {
      const chooser = chooserOf({ doSample: true, temperature: 4, seed, maxNewTokens: 12 }, [1], row)
      while (!chooser.finished) chooser.next(logits)
      return chooser.newTokens.join()
    }
    expect(draw(3, 0)).toBe(draw(3, 0))
    expect(new Set([draw(3, 0), draw(3, 1), draw(4, 0)]).size).toBe(3)
  })

  it('ends at the end-of-text token, at its length, and where positions end', () => {
    expect(chooserOf({ eosTokenId: [6] }).next(logits)).toEqual({ token: 6, finished: 'eos' })
    expect(chooserOf({ maxNewTokens: 1 }).next(logits).finished).toBe('length')
    const byLength = chooserOf({ maxLength: 5 }, [1, 2, 3])
    expect([byLength.next(logits), byLength.next(logits)].map(({ finished }) => finished)).toEqual([
      undefined,
      'length',
    ])
    expect(() => byLength.next(logits)).toThrow(/The row has ended \(length\)/)
    expect(() => chooserOf({ maxLength: 3 }, [1, 2, 3])).toThrow(/maxLength is 3, which counts the 3 tokens/)
    const settings = { ...settingsOf({}), maxPositions: 2 }
    const short = new TokenChooser({ settings, tokens: tokensOf(), beginning: [1, 2], source: [1, 2] })
    expect(short.next(logits).finished).toBe('context_length')
  })

  it('ends at a stop string', () => {
    const chooser = chooserOf({ stopStrings: ['66'], tokenizer: characters })
    expect(chooser.next(logits).finished).toBeUndefined()
    expect(chooser.next(logits).finished).toBe('stop_string')
  })

  it("tells the model's own log-probabilities, whatever the options do", () => {
    const total = Math.log(golden.scores.reduce((sum, score) => sum + Math.exp(score), 0))
    const options = { logprobs: true, topLogprobs: 3, suppressTokens: [6], doSample: true, temperature: 9, topK: 1 }
    const { token, logprob } = chooserOf(options).next(logits)
    expect(token).toBe(3)
    expect(logprob!.logprob).toBeCloseTo(2 - total, 6)
    expect(logprob!.topLogprobs!.map(({ token }) => token)).toEqual([6, 3, 0])
    expect(logprob!.topLogprobs!.map(({ logprob }) => logprob)).toEqual(
      [3.25, 2, 1.5].map(score => expect.closeTo(score - total, 6)),
    )
    expect(chooserOf({ logprobs: true }).next(logits).logprob).not.toHaveProperty('topLogprobs')
  })

  it('says so when the options leave no token, or the model gives none', () => {
    const all = [...golden.scores.keys()]
    expect(() => chooserOf({ suppressTokens: all }).next(logits)).toThrow(/the options forbid every token at place 0/)
    const broken = new Float32Array(12).fill(Number.NaN)
    expect(() => chooserOf({ suppressTokens: all }).next(broken)).toThrow(/no finite logits/)
  })

  it('refuses what needs a prompt where recordings are heard', () => {
    const settings = settingsOf({ encoderNoRepeatNgramSize: 2 })
    const options = { settings, tokens: tokensOf(), beginning: [1], source: undefined }
    expect(() => new TokenChooser(options)).toThrow(/need the tokens of a prompt.*leave them out/)
  })
})
