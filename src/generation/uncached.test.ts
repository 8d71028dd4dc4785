/** @file Generation with a cache against the same without one, for every reference model that generates. */
import { afterAll, expect, it } from 'vitest'
import { Graph } from '../graph/index.ts'
import type { GenerateInputs, GenerateOptions } from '../models/generator.ts'
import type { PreTrainedModel } from '../models/index.ts'
import { AUTO_CLASSES, describeOracleModels, goldenTensors } from '../models/testing/oracle.ts'
import { getPeftModel, LoraConfig, type PeftModel, PrefixTuningConfig } from '../peft/index.ts'
import { Engine, NodeBackend, type TensorData, tensorData } from '../runtime/index.ts'
import { BeamSearch } from './beam-search.ts'
import { generate } from './index.ts'
import { logSumExp } from './logits.ts'
import type { SpecialTokens } from './model-files.ts'
import { resolveSettings } from './options.ts'

const engine = new Engine(new NodeBackend())
afterAll(() => engine.dispose())

const NEW_TOKENS = 5
/** Where the two likeliest tokens are nearer than this, rounding decides between them. */
const TIE = 1e-4
const PROMPTS = [[5, 9, 2, 30, 31, 7, 8, 44, 12, 6], [11], [3, 3, 3, 40]]
const NO_TOKENS: SpecialTokens = {
  ...{ eosTokenIds: [], padTokenId: 0, decoderStartTokenId: null, forcedBosTokenId: null, forcedEosTokenId: null },
  ...{ suppressTokens: [], beginSuppressTokens: [] },
}

/** What a text is generated from: tokens that it continues, or what an encoder reads. */
interface Source {
  /** The tokens that stand before the new ones. */
  beginning: readonly number[]
  /** The encoder's input, for one row. */
  encoder: Record<string, TensorData>
}

interface Case {
  inputs: GenerateInputs
  sources: Source[]
}

/** Three texts to begin from, or the reference's recordings. */
function caseOf(kind: string, folder: string, start: number): Case {
  if (kind === 'causal') {
    return { inputs: PROMPTS, sources: PROMPTS.map(beginning => ({ beginning, encoder: {} })) }
  }
  if (kind === 'seq2seq') {
    const encoder = (prompt: readonly number[]) => ({ input_ids: tensorData('int64', [[...prompt]]) })
    return { inputs: PROMPTS, sources: PROMPTS.map(prompt => ({ beginning: [start], encoder: encoder(prompt) })) }
  }
  const { input_features } = goldenTensors(folder, 'in.')
  const [count, ...dims] = input_features.dims
  const size = input_features.data.length / count
  const sources = Array.from({ length: count }, (_, i) => {
    const data = (input_features.data as Float32Array).slice(i * size, (i + 1) * size)
    return { beginning: [start], encoder: { input_features: tensorData('float32', data, [1, ...dims]) } }
  })
  return { inputs: { input_features }, sources }
}

/** The logits behind a sequence of tokens. */
type Predict = (source: Source, sequence: readonly number[]) => Promise<Float32Array>

/** Computes everything anew for each sequence; compiled once. */
async function uncached(model: PreTrainedModel | PeftModel, { encoder }: Source) {
  const graph = new Graph()
  const tokens = Object.keys(encoder).length ? 'decoder_input_ids' : 'input_ids'
  const inputs = Object.fromEntries(
    Object.entries(encoder).map(([name, { dtype, dims }]) => {
      return [name, graph.input(name, dtype, dtype === 'int64' ? ['batch', 'source'] : dims)]
    }),
  )
  inputs[tokens] = graph.input(tokens, 'int64', ['batch', 'tokens'])
  const { logits } = graph.trace(() => model.forward(inputs))
  const executable = await engine.compile({ logits: logits! }, { mode: 'small' })
  const predict: Predict = async (source, sequence) => {
    const { logits } = await executable.run({ ...source.encoder, [tokens]: tensorData('int64', [[...sequence]]) })
    return (logits.data as Float32Array).subarray(-logits.dims[2])
  }
  return { predict, [Symbol.asyncDispose]: () => executable.dispose() }
}

/** Holds each token of a text against the likeliest one behind those before it. */
async function expectGreedy(predict: Predict, source: Source, tokens: number[], logprobs: number[]) {
  const sequence = [...source.beginning]
  for (const [i, token] of tokens.entries()) {
    const logits = await predict(source, sequence)
    const best = Math.max(...logits)
    if (best - logits[token] >= TIE) expect(token).toBe(logits.indexOf(best))
    expect(logprobs[i]).toBeCloseTo(logits[token] - logSumExp(logits), 3)
    sequence.push(token)
  }
}

/** The best texts of three beams by uncached logits, with their scores. */
async function searchUncached(predict: Predict, source: Source, options: GenerateOptions, vocabSize: number) {
  const settings = resolveSettings(options, { vocabSize, maxPositions: 512 })
  const search = new BeamSearch({ settings, tokens: NO_TOKENS, beginning: source.beginning, source: [] })
  let rows = [[...source.beginning]]
  for (;;) {
    const logits: Float32Array[] = []
    for (const row of rows) logits.push(await predict(source, row))
    const next = search.next(logits)
    if (!next) return search.best(options.numReturnSequences!)
    rows = next.map(({ beam, token }) => [...rows[beam], token])
  }
}

const LORA = { r: 4, loraAlpha: 24, targetModules: 'all-linear', initLoraWeights: false } as const
const VARIANTS: readonly ((model: PreTrainedModel) => PreTrainedModel | PeftModel)[] = [
  model => model,
  model => getPeftModel(model, new LoraConfig(LORA)),
  model => getPeftModel(model, new PrefixTuningConfig({ numVirtualTokens: 3 })),
]

/** Generates greedily and by beams, and holds both against what is computed without a cache, row by row. */
async function expectUncached(model: PreTrainedModel | PeftModel, { inputs, sources }: Case, options: GenerateOptions) {
  await using reference = await uncached(model, sources[0])
  const { predict } = reference
  // Prompts in pieces of a few tokens here, whole with beams.
  const greedy = await generate(model, inputs, { ...options, logprobs: true, prefillChunk: 5 })
  expect(greedy.newTokens.map(tokens => tokens.length)).toEqual(sources.map(() => NEW_TOKENS))
  const logprobs = greedy.logprobs!.map(row => row.map(({ logprob }) => logprob))
  for (const [row, source] of sources.entries()) {
    await expectGreedy(predict, source, greedy.newTokens[row], logprobs[row])
  }

  const beams = { numBeams: 3, numReturnSequences: 2 }
  const searched = await generate(model, inputs, { ...options, ...beams })
  const { vocab_size } = model.config as unknown as { vocab_size: number }
  for (const [row, source] of sources.entries()) {
    const expected = await searchUncached(predict, source, { maxNewTokens: NEW_TOKENS, ...beams }, vocab_size)
    const scores = searched.sequencesScores!.slice(2 * row, 2 * row + 2)
    expect(scores).toEqual(expected.map(({ score }) => expect.closeTo(score, 4)))
    const isTie = expected[0].score - expected[1].score < TIE
    const texts = searched.newTokens.slice(2 * row, 2 * row + 2)
    if (!isTie) expect(texts).toEqual(expected.map(({ newTokens }) => newTokens))
  }
  return logprobs
}

describeOracleModels((name, folder, { kind }) => {
  it(`oracle: ${name} writes the same with a cache and without, by itself, with LoRA and behind a prefix`, async () => {
    const base = await AUTO_CLASSES[kind].fromPretrained(folder, { onWarning: () => {} })
    const { decoder_start_token_id: start = 0 } = base.config as unknown as { decoder_start_token_id?: number }
    const given = caseOf(kind, folder, start)
    const options: GenerateOptions = {
      ...{ engine, generationConfig: {}, maxNewTokens: NEW_TOKENS, cacheBucket: 4, eosTokenId: null, padTokenId: 0 },
      ...{ suppressTokens: null, beginSuppressTokens: null },
      ...(kind !== 'causal' && { forcedBosTokenId: null, forcedEosTokenId: null }),
    }
    const likely: number[][][] = []
    for (const adapt of VARIANTS) likely.push(await expectUncached(adapt(base), given, options))
    // Adapters that did nothing would show nothing.
    expect(new Set(likely.map(String)).size).toBe(VARIANTS.length)
  })
}, /causal|seq2seq/)
