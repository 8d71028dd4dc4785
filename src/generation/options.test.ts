/** @file Options with the defaults of a folder: which of them hold, and which contradict. */
import { describe, expect, it } from 'vitest'
import type { GenerateOptions, GenerationDefaults } from '../models/generator.ts'
import { checkGiven, resolveSettings } from './options.ts'

const limits = { vocabSize: 64, maxPositions: 100 }
const resolve = (options: GenerateOptions, defaults: GenerationDefaults = {}) => {
  checkGiven(options, limits)
  return resolveSettings(options, limits, defaults)
}

describe('resolveSettings', () => {
  it("takes what was given, then the folder's, then Transformers' defaults", () => {
    const file = { doSample: true, topK: 7, temperature: 0.6, badWordsIds: [[3]] }
    expect(resolve({ topK: 9, badWordsIds: null }, file)).toMatchObject({
      ...{ doSample: true, topK: 9, temperature: 0.6, badWordsIds: [], topP: 1, numBeams: 1, maxNewTokens: 20 },
    })
    expect(resolve({}).topK).toBe(50)
  })

  it('lets a length that was given replace both of the folder', () => {
    const lengths = (options: GenerateOptions, file: GenerationDefaults) => {
      const { maxNewTokens, maxLength, minNewTokens, minLength } = resolve(options, file)
      return [maxNewTokens, maxLength, minNewTokens, minLength]
    }
    expect(lengths({}, { maxLength: 142, minLength: 56 })).toEqual([undefined, 142, 0, 56])
    expect(lengths({ maxNewTokens: 9 }, { maxLength: 142, minLength: 56 })).toEqual([9, undefined, 0, 56])
    expect(lengths({ maxLength: 30, minNewTokens: 2 }, { maxNewTokens: 4, minLength: 56 })).toEqual([
      undefined,
      30,
      2,
      0,
    ])
    expect(lengths({}, { maxLength: 142, maxNewTokens: 8, minNewTokens: 1, minLength: 3 })).toEqual([
      8,
      undefined,
      1,
      0,
    ])
  })

  it('takes sampling options without doSample where the folder draws', () => {
    expect(resolve({ temperature: 0.5, seed: 3 }, { doSample: true })).toMatchObject({ temperature: 0.5, seed: 3 })
    expect(resolve({}, { doSample: false, temperature: 0 }).doSample).toBe(false)
  })

  it.each<[GenerateOptions, GenerationDefaults, RegExp]>([
    [{ temperature: 0.5 }, { doSample: false }, /temperature has no effect on the most likely tokens/],
    [{ lengthPenalty: 2, earlyStopping: true }, {}, /lengthPenalty, earlyStopping have no effect without beams/],
    [{ doSample: true }, { temperature: 0 }, /temperature is 0, expected a number above 0/],
    [{ numReturnSequences: 2 }, {}, /numReturnSequences is 2, expected 1, since the most likely tokens are always/],
    [{ numBeams: 2, numReturnSequences: 3 }, {}, /numReturnSequences is 3, expected at most numBeams \(2\)/],
    [{ maxLength: 9, maxNewTokens: 3 }, {}, /got maxNewTokens \(3\) and maxLength \(9\), expected one of them/],
    [{ minLength: 9, minNewTokens: 3 }, {}, /got minNewTokens \(3\) and minLength \(9\)/],
    [{ minLength: 9, maxLength: 3 }, {}, /minLength is 9, expected a whole number from 0 to maxLength \(3\)/],
    [{ topLogprobs: 2 }, {}, /topLogprobs is 2 without logprobs/],
    [{ numBeams: 0 }, {}, /numBeams is 0, expected a whole number of at least 1/],
    [
      { earlyStopping: 'always' as 'never', numBeams: 2 },
      {},
      /earlyStopping is "always", expected true, false or 'never'/,
    ],
    [{ typicalP: 0, doSample: true }, {}, /typicalP is 0, expected a number above 0, up to 1/],
    [{ etaCutoff: 1, doSample: true }, {}, /etaCutoff is 1, expected a number from 0 to below 1/],
    [
      { badWordsIds: [[]] },
      {},
      /badWordsIds is \[\[\]\], expected a list of lists of tokens of the vocabulary, 0 to 63/,
    ],
    [{ sequenceBias: [[[64], 1]] }, {}, /sequenceBias is \[\[\[64\],1\]\], expected pairs of a list of tokens/],
    [{ logitBias: { 99: 1 } }, {}, /logitBias is {"99":1}, expected numbers by tokens of the vocabulary/],
    [{ exponentialDecayLengthPenalty: [3, 0] }, {}, /exponentialDecayLengthPenalty is \[3,0\], expected/],
    [{ doSample: 1 } as never, {}, /doSample is 1, expected true or false/],
    [{ numBeamGroups: 2 } as never, {}, /numBeamGroups asks for groups of beams, which is not computed; leave it out/],
    [{ assistantModel: {} } as never, {}, /assistantModel asks for assisted generation/],
    [{ numBeam: 2 } as never, {}, /no option "numBeam". Did you mean "numBeams"/],
  ])('refuses %j where the folder says %j', (options, file, message) => {
    expect(() => resolve(options, file)).toThrow(message)
  })
})
