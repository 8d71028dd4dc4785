/** @file Greedy continuations against Transformers'. */
import { afterAll, describe, expect, it } from 'vitest'
import { oracleCase, skippable } from '../../test/shared.ts'
import { AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModelForSpeechSeq2Seq } from '../models/index.ts'
import { goldenTensors } from '../models/testing/oracle.ts'
import { getPeftModel, LoraConfig } from '../peft/index.ts'
import { Engine, NodeBackend } from '../runtime/index.ts'
import { type GenerateOptions, generate } from './index.ts'

const engine = new Engine(new NodeBackend())
afterAll(() => engine.dispose())

const seq2seq = ['t5-seq2seq', 'flan-t5-seq2seq', 'mt5-seq2seq', 'bart-seq2seq']

describe.each(seq2seq)('generate behind an encoder', name => {
  const folder = oracleCase('models', name)

  it.skipIf(!folder)(
    skippable(`oracle: ${name} answers as in Transformers`, !folder && 'no copy of the oracle here'),
    async () => {
      const model = await AutoModelForSeq2SeqLM.fromPretrained(folder!, { onWarning: () => {} })
      const tokens = (key: string) => Array.from(goldenTensors(folder!, key)[''].data as BigInt64Array, Number)
      const [prompt, expected] = [tokens('in.generate'), tokens('out.generate')]
      for (const cacheBucket of [3, 64]) {
        const options = { engine, eosTokenId: null, maxNewTokens: expected.length - 1, cacheBucket }
        const { sequences } = await generate(model, [prompt, prompt.slice(2)], options)
        expect(sequences[0]).toEqual(expected)
      }
    },
  )
})

/*
 * Made with transformers 5.23 and torch 2.15 on the reference checkpoint and its two recordings: the likeliest token
 * after each forward pass, without a cache; the first case also by Transformers' own `generate`.
 */
const HEARD: { options: GenerateOptions; expected: number[][] }[] = [
  { options: {}, expected: [repeat([3], [54, 5], [46, 7]), repeat([3], [54, 5], [46, 7])] },
  { options: { decoderInputIds: [3, 50, 61] }, expected: [repeat([3, 50, 61], [46, 8]), repeat([3, 50, 61], [46, 8])] },
  { options: { suppressTokens: [46] }, expected: [repeat([3], [54, 9]), repeat([3], [54, 9])] },
  { options: { beginSuppressTokens: [54] }, expected: [repeat([3], [92, 2], [46, 4]), repeat([3], [92, 1], [46, 5])] },
]

/** A start and what follows, each token with how often it comes. */
function repeat(start: number[], ...runs: [token: number, times: number][]): number[] {
  return [...start, ...runs.flatMap(([token, times]) => Array<number>(times).fill(token))]
}

describe('generate from recordings', () => {
  const folder = oracleCase('models', 'whisper-seq2seq')

  it.skipIf(!folder)(
    skippable('oracle: whisper-seq2seq writes what Transformers writes', !folder && 'no copy of the oracle here'),
    async () => {
      const model = await AutoModelForSpeechSeq2Seq.fromPretrained(folder!)
      const { input_features } = goldenTensors(folder!, 'in.')
      for (const { options, expected } of HEARD) {
        const maxNewTokens = expected[0].length - (options.decoderInputIds?.length ?? 1)
        for (const cacheBucket of [3, 64]) {
          const all = { engine, eosTokenId: null, maxNewTokens, cacheBucket, ...options }
          expect((await model.generate({ input_features }, all)).sequences).toEqual(expected)
        }
      }
    },
  )

  it.skipIf(!folder)(
    skippable('oracle: are heard through an adapter', !folder && 'no copy of the oracle here'),
    async () => {
      const model = await AutoModelForSpeechSeq2Seq.fromPretrained(folder!)
      const { input_features } = goldenTensors(folder!, 'in.')
      const targetModules = ['q_proj', 'v_proj', 'fc1']
      const config = new LoraConfig({ r: 4, loraAlpha: 256, targetModules, initLoraWeights: false })
      const peft = getPeftModel(model, config)
      const write = () => peft.generate({ input_features }, { engine, eosTokenId: null, maxNewTokens: 6 })
      const [base] = HEARD[0].expected
      expect((await write()).sequences[0]).not.toEqual(base.slice(0, 7))
      expect((await peft.disableAdapter(write)).sequences[0]).toEqual(base.slice(0, 7))
    },
  )

  it.skipIf(!folder)(skippable('oracle: are told from prompts', !folder && 'no copy of the oracle here'), async () => {
    const model = await AutoModelForSpeechSeq2Seq.fromPretrained(folder!)
    await expect(model.generate([1, 2])).rejects.toThrow(/the model hears: give \{ input_features \}/)
    const input_features = { dtype: 'float32' as const, dims: [1, 8, 16], data: new Float32Array(128) }
    await expect(model.generate({ input_features })).rejects.toThrow(
      /\[1, 8, 16\], expected float32 \[recordings, 8, 32\]/,
    )
    await expect(model.generate({ input_features }, { decoderInputIds: [] })).rejects.toThrow(/decoderInputIds/)
  })
})

describe.each(['llama-causal', 'llama-rope-scaled-causal', 'qwen2-causal', 'gpt2-causal'])('generate', name => {
  const folder = oracleCase('models', name)

  it.skipIf(!folder)(
    skippable(`oracle: ${name} continues as in Transformers`, !folder && 'no copy of the oracle here'),
    async () => {
      const model = await AutoModelForCausalLM.fromPretrained(folder!)
      const tokens = (key: string) => Array.from(goldenTensors(folder!, key)[''].data as BigInt64Array, Number)
      const [prompt, expected] = [tokens('in.generate'), tokens('out.generate')]
      for (const cacheBucket of [4, 64]) {
        const options = { engine, eosTokenId: null, maxNewTokens: expected.length - prompt.length, cacheBucket }
        const { sequences } = await generate(model, [prompt, prompt.slice(2)], options)
        expect(sequences[0]).toEqual(expected)
      }
    },
  )
})
