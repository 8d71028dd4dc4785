/** @file Beam search: against Transformers on reference checkpoints, and by itself on made-up logits. */
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { oracleCase, skippable } from '../../test/shared.ts'
import { Graph } from '../graph/index.ts'
import type { GenerateOptions } from '../models/generator.ts'
import { AutoModelForCausalLM, AutoModelForSeq2SeqLM } from '../models/index.ts'
import { getPeftModel, LoraConfig, PrefixTuningConfig } from '../peft/index.ts'
import { Engine, type Executable, NodeBackend, tensorData } from '../runtime/index.ts'
import { BeamSearch } from './beam-search.ts'
import { generate, stream } from './index.ts'
import type { SpecialTokens } from './model-files.ts'
import { resolveSettings } from './options.ts'
import { characters, tinyModel } from './testing/tiny.ts'

interface GoldenBeams {
  model: string
  prompt: number[]
  options: GenerateOptions
  newTokens: number[][]
  scores: number[]
}

// By golden.py in the same folder, with transformers 5.23 and torch 2.15, on the oracle's models.
const { beams }: { beams: GoldenBeams[] } = JSON.parse(
  readFileSync(new URL('testing/golden.json', import.meta.url), 'utf8'),
)

const NO_TOKENS: SpecialTokens = {
  ...{ eosTokenIds: [], padTokenId: 0, decoderStartTokenId: null, forcedBosTokenId: null, forcedEosTokenId: null },
  ...{ suppressTokens: [], beginSuppressTokens: [] },
}

const engine = new Engine(new NodeBackend())
afterAll(() => engine.dispose())

describe.each([...new Set(beams.map(({ model }) => model))])('beams', name => {
  const folder = oracleCase('models', name)

  it.skipIf(!folder)(
    skippable(`oracle: of ${name} are Transformers'`, !folder && 'no copy of the oracle here'),
    async () => {
      const auto = name.endsWith('causal') ? AutoModelForCausalLM : AutoModelForSeq2SeqLM
      const model = await auto.fromPretrained(folder!, { onWarning: () => {} })
      for (const { options, prompt, newTokens, scores } of beams.filter(({ model }) => model === name)) {
        const label = JSON.stringify(options)
        const result = await generate(model, [prompt, prompt.slice(3)], { engine, padTokenId: 0, ...options })
        expect(result.newTokens.slice(0, 2), label).toEqual(newTokens)
        expect(result.sequencesScores!.slice(0, 2), label).toEqual(scores.map(score => expect.closeTo(score, 4)))
      }
    },
  )
})

describe('generate with beams', () => {
  const model = tinyModel('llama')
  const options = { engine, eosTokenId: 9, maxNewTokens: 8, numBeams: 3, numReturnSequences: 2 }
  const prompts = [[5, 9, 2, 30], [11], [3, 3]]

  it('gives each prompt of a batch what it gets alone, with scores, reasons and sequences', async () => {
    const together = await generate(model, prompts, { ...options, logprobs: true })
    expect(together.newTokens).toHaveLength(6)
    for (const [i, prompt] of prompts.entries()) {
      const alone = await generate(model, prompt, { ...options, logprobs: true })
      expect(alone.newTokens).toEqual(together.newTokens.slice(2 * i, 2 * i + 2))
      expect(alone.finishReasons).toEqual(together.finishReasons.slice(2 * i, 2 * i + 2))
      for (const row of [0, 1]) {
        expect(together.sequences[2 * i + row]).toEqual([...prompt, ...alone.newTokens[row]])
        // Without processors a score is the mean of the log-probabilities.
        const logprobs = together.logprobs![2 * i + row].map(({ logprob }) => logprob)
        const mean = logprobs.reduce((a, b) => a + b, 0) / logprobs.length
        expect(mean).toBeCloseTo(together.sequencesScores![2 * i + row], 4)
      }
    }
  })

  it.each([
    [
      'an adapter',
      () => new LoraConfig({ loraAlpha: 64, targetModules: ['q_proj', 'v_proj'], initLoraWeights: false }),
    ],
    ['a prefix', () => new PrefixTuningConfig({ numVirtualTokens: 5 })],
  ])('finds with %s what recomputing everything finds', async (_, config) => {
    const peft = getPeftModel(tinyModel('llama'), config())
    const { newTokens, sequencesScores } = await peft.generate(prompts, options)
    const graph = new Graph()
    const input_ids = graph.input('input_ids', 'int64', ['batch', 'sequence'])
    const { logits } = graph.trace(() => peft.forward({ input_ids }))
    await using executable: Executable = await engine.compile({ logits: logits! }, { mode: 'small' })
    const predict = async (rows: number[][]) => {
      const { logits } = await executable.run({ input_ids: tensorData('int64', rows) })
      const [batch, length, width] = logits.dims
      const values = logits.data as Float32Array
      return Array.from({ length: batch }, (_, row) =>
        values.subarray(((row + 1) * length - 1) * width, (row + 1) * length * width),
      )
    }
    const { engine: _engine, eosTokenId, ...rest } = options
    const limits = { vocabSize: 64, maxPositions: 128 }
    for (const [i, prompt] of prompts.entries()) {
      const settings = resolveSettings(rest, limits)
      const tokens = { ...NO_TOKENS, eosTokenIds: [eosTokenId] }
      const search = new BeamSearch({ settings, tokens, beginning: prompt, source: prompt })
      let rows = [prompt]
      let next = search.next(await predict(rows))
      while (next) {
        rows = next.map(({ beam, token }) => [...rows[beam], token])
        next = search.next(await predict(rows))
      }
      const best = search.best(2)
      expect(newTokens.slice(2 * i, 2 * i + 2)).toEqual(best.map(({ newTokens }) => newTokens))
      const scores = best.map(({ score }) => expect.closeTo(score, 3))
      expect(sequencesScores!.slice(2 * i, 2 * i + 2)).toEqual(scores)
    }
  })

  it('draws beams by the seed', async () => {
    const draw = async (seed: number) => {
      const drawing = { ...options, doSample: true, temperature: 3, topK: 20, seed }
      return (await generate(model, prompts[0], drawing)).newTokens
    }
    expect(await draw(1)).toEqual(await draw(1))
    expect(await draw(1)).not.toEqual(await draw(2))
  })

  it('ends texts at stop strings', async () => {
    const free = { ...options, eosTokenId: null, numReturnSequences: 3, lengthPenalty: -1 }
    const { newTokens } = await generate(model, prompts[0], free)
    const stop = characters.decode(newTokens[0].slice(1, 3))
    const result = await generate(model, prompts[0], { ...free, stopStrings: stop, tokenizer: characters })
    const ended = result.newTokens.filter((_, i) => result.finishReasons[i] === 'stop_string')
    expect(ended.length).toBeGreaterThan(0)
    for (const tokens of ended) expect(characters.decode(tokens).indexOf(stop)).toBe(tokens.length - 2)
  })

  it('is refused where tokens are told as they come', async () => {
    await expect(generate(model, [1], { ...options, onToken: () => {} })).rejects.toThrow(/known only at the end/)
    const pieces = stream(model, [1], { engine, numBeams: 2, tokenizer: characters })
    await expect(pieces.next()).rejects.toThrow(/numBeams is 2.*give numBeams: 1/)
  })

  it('ends between tokens when it is aborted', async () => {
    const signal = AbortSignal.timeout(1)
    await expect(generate(model, [1], { ...options, eosTokenId: null, maxNewTokens: 100, signal })).rejects.toThrow()
  })
})

describe('BeamSearch', () => {
  const vocabSize = 6
  const tokens = { ...NO_TOKENS, eosTokenIds: [0] }

  /** Logits that depend on the last two tokens alone. */
  const tableOf = (seed: number) => (sequence: readonly number[]) =>
    Float32Array.from({ length: vocabSize }, (_, token) => {
      return 3 * Math.sin(seed + 7 * token + 3 * (sequence.at(-1) ?? 0) + 1.7 * (sequence.at(-2) ?? 0))
    })

  function search(seed: number, options: GenerateOptions) {
    const limits = { vocabSize, maxPositions: Number.POSITIVE_INFINITY }
    const settings = resolveSettings({ seed: 1, doSample: false, ...options }, limits)
    const beginning = [1]
    const beam = new BeamSearch({ settings, tokens, beginning, source: beginning })
    const predict = tableOf(seed)
    let rows = [beginning]
    let next = beam.next([predict(beginning)])
    while (next) {
      rows = next.map(({ beam, token }) => [...rows[beam], token])
      next = beam.next(rows.map(predict))
    }
    return beam.best(settings.numReturnSequences)
  }

  /** Every text, with the sum of its log-probabilities. */
  function all(seed: number, length: number): { newTokens: number[]; sum: number }[] {
    const predict = tableOf(seed)
    const grow = (newTokens: number[], sum: number): { newTokens: number[]; sum: number }[] => {
      if (newTokens.at(-1) === 0 || newTokens.length === length) return [{ newTokens, sum }]
      const logits = predict([1, ...newTokens])
      const total = Math.log(logits.reduce((s, logit) => s + Math.exp(logit), 0))
      return [...logits.keys()].flatMap(token => grow([...newTokens, token], sum + logits[token] - total))
    }
    return grow([], 0)
  }

  it('with as many beams as there are texts finds the best of all', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1000 }), fc.constantFrom(0, 0.5, 1, 2), (seed, lengthPenalty) => {
        const options = { numBeams: 216, numReturnSequences: 5, maxNewTokens: 3, lengthPenalty }
        const found = search(seed, { ...options, earlyStopping: 'never' })
        const best = all(seed, 3)
          .map(({ newTokens, sum }) => sum / newTokens.length ** lengthPenalty)
          .sort((a, b) => b - a)
        expect(found.map(({ score }) => score)).toEqual(best.slice(0, 5).map(score => expect.closeTo(score, 4)))
      }),
      { numRuns: 25 },
    )
  })

  it('gives texts in the order of their scores, each once', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 1000 }),
        fc.constantFrom(true, false, 'never' as const),
        fc.boolean(),
        (seed, earlyStopping, doSample) => {
          const found = search(seed, { numBeams: 4, numReturnSequences: 4, maxNewTokens: 6, earlyStopping, doSample })
          const scores = found.map(({ score }) => score)
          expect(scores).toEqual([...scores].sort((a, b) => b - a))
          expect(new Set(found.map(({ newTokens }) => newTokens.join())).size).toBe(4)
          for (const { newTokens, finishReason } of found) {
            expect(finishReason).toBe(newTokens.at(-1) === 0 ? 'eos' : 'length')
            expect(newTokens.slice(0, -1)).not.toContain(0)
          }
        },
      ),
    )
  })

  it('says so where the options leave fewer texts than are wanted', () => {
    const options = { numBeams: 3, numReturnSequences: 3, maxNewTokens: 2, badWordsIds: [[2], [3], [4], [5]] }
    expect(() => search(1, { ...options, noRepeatNgramSize: 1 })).toThrow(
      /only 1 of 3 texts .* lower numReturnSequences/,
    )
  })
})
