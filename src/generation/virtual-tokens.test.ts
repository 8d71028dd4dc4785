/** @file Generation behind virtual tokens and prefixes: the cache against recomputation, batches, limits, what is compiled. */
import { afterAll, describe, expect, it, onTestFinished } from 'vitest'
import { Graph } from '../graph/index.ts'
import { AutoConfig, AutoModelForSeq2SeqLM } from '../models/index.ts'
import { KeyValueCache } from '../nn/index.ts'
import {
  type AnyPeftConfig,
  getPeftModel,
  LoraConfig,
  type PeftModel,
  PrefixTuningConfig,
  PromptEncoderConfig,
  PromptTuningConfig,
} from '../peft/index.ts'
import { Engine, NodeBackend, tensorData } from '../runtime/index.ts'
import './index.ts'
import { characters, tinyModel } from './testing/tiny.ts'

const engine = new Engine(new NodeBackend())
afterAll(() => engine.dispose())

const greedy = { engine, eosTokenId: null, maxNewTokens: 8, mode: 'small' } as const
const PROMPTS = [[5, 9, 2, 30, 31, 7, 8], [11], [3, 3, 3, 40]]

/** What gives greedy tokens by running the whole sequence again for each; compiled once. */
async function recomputing(model: PeftModel) {
  const graph = new Graph()
  const input_ids = graph.input('input_ids', 'int64', ['batch', 'sequence'])
  const { logits } = graph.trace(() => model.forward({ input_ids }))
  const executable = await engine.compile({ logits: logits! }, { mode: 'small' })
  onTestFinished(() => executable.dispose())
  return async (prompt: readonly number[], count = 8): Promise<number[]> => {
    const tokens = [...prompt]
    for (let i = 0; i < count; i++) {
      const { logits } = await executable.run({ input_ids: tensorData('int64', [tokens]) })
      const row = (logits.data as Float32Array).subarray(-logits.dims[2])
      tokens.push(row.indexOf(Math.max(...row)))
    }
    return tokens.slice(prompt.length)
  }
}

const CONFIGS: Record<string, () => AnyPeftConfig> = {
  'prompt tuning': () => new PromptTuningConfig({ numVirtualTokens: 5 }),
  'P-tuning by an MLP': () => new PromptEncoderConfig({ numVirtualTokens: 5, encoderHiddenSize: 24 }),
  'P-tuning by an LSTM': () =>
    new PromptEncoderConfig({ numVirtualTokens: 3, encoderHiddenSize: 8, encoderReparameterizationType: 'LSTM' }),
  'prefix tuning': () => new PrefixTuningConfig({ numVirtualTokens: 5 }),
  'prefix tuning by an MLP': () => new PrefixTuningConfig({ numVirtualTokens: 5, prefixProjection: true }),
}

const adapted = (type: Parameters<typeof tinyModel>[0], config: AnyPeftConfig, overrides: object = {}) =>
  getPeftModel(tinyModel(type, overrides), config)

describe.each(Object.keys(CONFIGS))('generate behind %s', name => {
  const isPlain = !name.includes(' by ')

  it.each(isPlain ? (['llama', 'gpt2'] as const) : (['llama'] as const))(
    'gives with %s the tokens that recomputing everything gives, in a batch too',
    async type => {
      const peft = adapted(type, CONFIGS[name]())
      const expected: number[][] = []
      const recompute = await recomputing(peft)
      for (const prompt of PROMPTS) expected.push(await recompute(prompt))
      expect(new Set(expected.flat()).size).toBeGreaterThan(3)
      for (const cacheBucket of isPlain ? [1, 4, 64] : [4]) {
        const { newTokens, sequences } = await peft.generate(PROMPTS, { ...greedy, cacheBucket })
        expect(newTokens).toEqual(expected)
        expect(sequences[1]).toEqual([11, ...expected[1]])
      }
      const { newTokens } = await peft.disableAdapter(() => peft.generate(PROMPTS, greedy))
      expect(newTokens).not.toEqual(expected)
      expect(newTokens).toEqual((await tinyModel(type).generate(PROMPTS, greedy)).newTokens)
    },
  )
})

describe('virtual tokens', () => {
  const prompt = () => new PromptTuningConfig({ numVirtualTokens: 4 })
  const prefix = () => new PrefixTuningConfig({ numVirtualTokens: 3 })

  it('of several adapters stand one behind the other, with LoRA beside them', async () => {
    const peft = adapted('llama', prompt())
    peft.addAdapter('other', prefix(), { seed: 2 })
    const lora = { r: 4, loraAlpha: 32, targetModules: ['q_proj', 'v_proj'], initLoraWeights: false } as const
    peft.addAdapter('lora', new LoraConfig(lora), { seed: 3 })
    const results = new Set<string>()
    for (const active of [['default'], ['default', 'lora'], ['other', 'lora'], ['lora', 'other', 'default']]) {
      peft.setAdapter(active)
      const recompute = await recomputing(peft)
      const expected = await recompute(PROMPTS[0])
      const { newTokens } = await peft.generate(PROMPTS, greedy)
      expect(newTokens[0], active.join()).toEqual(expected)
      expect(newTokens[1], active.join()).toEqual(await recompute(PROMPTS[1]))
      results.add(expected.join())
    }
    expect(results.size).toBe(4)
  })

  it('compile once for adapters of one shape, and leave the step as it is without them', async () => {
    const counting = new CountingEngine(new NodeBackend())
    const peft = adapted('llama', prompt())
    peft.addAdapter('twin', prompt(), { seed: 5 })
    const options = { ...greedy, engine: counting }
    const first = await peft.generate(PROMPTS[0], options)
    expect(counting.compiled).toBe(2)
    peft.setAdapter('twin')
    expect((await peft.generate(PROMPTS[0], options)).newTokens).not.toEqual(first.newTokens)
    await peft.disableAdapter(() => peft.generate(PROMPTS[0], options))
    expect(counting.compiled).toBe(2)
    peft.setAdapter('default')
    expect((await peft.generate(PROMPTS[0], options)).newTokens).toEqual(first.newTokens)
    expect(counting.compiled).toBe(2)
    await counting.dispose()
  })

  it('have the values of the call while a generation runs', async () => {
    const peft = adapted('llama', prompt())
    const before = await peft.generate(PROMPTS[0], greedy)
    const running = peft.generate(PROMPTS[0], greedy)
    for (const parameter of peft.stateDict().values()) parameter.data.fill(0)
    expect((await running).newTokens).toEqual(before.newTokens)
    expect((await peft.generate(PROMPTS[0], greedy)).newTokens).not.toEqual(before.newTokens)
  })

  it('are no part of the text that is streamed', async () => {
    const peft = adapted('llama', prefix())
    let text = ''
    for await (const piece of peft.stream(PROMPTS[0], { ...greedy, tokenizer: characters })) text += piece
    const { newTokens } = await peft.generate(PROMPTS[0], greedy)
    expect(text).toBe(characters.decode(newTokens[0], { skipSpecialTokens: true }))
  })

  it('take positions that the model was made for', async () => {
    const short = adapted('gpt2', prompt(), { n_positions: 12 })
    const { newTokens, finishReasons } = await short.generate([[1, 2, 3, 4, 5, 6], [7]], greedy)
    expect(finishReasons).toEqual(['context_length', 'length'])
    expect(newTokens.map(tokens => tokens.length)).toEqual([3, 8])
    expect(newTokens[1]).toEqual(await (await recomputing(short))([7]))
    await expect(short.generate(Array(9).fill(1), greedy)).rejects.toThrow(
      /9 tokens, the model was made for 12 .*of which an adapter's virtual tokens take 4/,
    )
  })

  it('are not counted apart in a model with a sliding window, whatever the lengths of the prompts', async () => {
    const window = { use_sliding_window: true, sliding_window: 6, max_window_layers: 1 }
    const peft = adapted('qwen2', prefix(), window)
    const recompute = await recomputing(peft)
    const expected = await Promise.all(PROMPTS.map(tokens => recompute(tokens)))
    expect((await peft.generate(PROMPTS, greedy)).newTokens).toEqual(expected)
  })

  it.each([
    ['prompt tuning', prompt],
    ['prefix tuning', prefix],
  ])('of %s stand in a cache that a forward pass began, and are not put in again', async (_, config) => {
    const peft = adapted('llama', config())
    const tokens = [5, 9, 2, 30, 31]
    const graph = new Graph()
    const input = (name: string) => graph.input(name, 'int64', ['batch', name])
    const outputs = graph.trace(() => {
      const begun = new KeyValueCache([])
      peft.forward({ input_ids: input('first'), cache: begun })
      const { logits } = peft.forward({ input_ids: input('second'), cache: new KeyValueCache(begun.present) })
      return { inParts: logits!, atOnce: peft.forward({ input_ids: input('all') }).logits! }
    })
    await using executable = await engine.compile(outputs, { mode: 'small' })
    const { inParts, atOnce } = await executable.run({
      first: tensorData('int64', [tokens.slice(0, 3)]),
      second: tensorData('int64', [tokens.slice(3)]),
      all: tensorData('int64', [tokens]),
    })
    const last = (atOnce.data as Float32Array).subarray(-inParts.data.length)
    for (const [i, value] of (inParts.data as Float32Array).entries()) expect(value).toBeCloseTo(last[i], 4)
  })
})

describe('generate with an encoder', () => {
  const t5 = () => {
    const model = AutoModelForSeq2SeqLM.fromConfig(
      AutoConfig.fromJSON({
        ...{ model_type: 't5', vocab_size: 48, d_model: 32, d_kv: 8, d_ff: 48, num_layers: 2, num_heads: 4 },
        ...{ decoder_start_token_id: 0, initializer_factor: 2, tie_word_embeddings: false },
      }),
    )
    model.initialize(3)
    return model
  }

  it.each(['prompt tuning', 'P-tuning by an MLP', 'prefix tuning'])(
    'gives behind %s the tokens that recomputing everything gives',
    async name => {
      const peft = getPeftModel(t5(), CONFIGS[name]())
      const graph = new Graph()
      const input = (of: string) => graph.input(of, 'int64', ['batch', of])
      const inputs = { input_ids: input('input_ids'), decoder_input_ids: input('decoder_input_ids') }
      const { logits } = graph.trace(() => peft.forward(inputs))
      await using executable = await engine.compile({ logits: logits! }, { mode: 'small' })
      const { newTokens } = await peft.generate(PROMPTS, greedy)
      for (const [row, source] of PROMPTS.entries()) {
        const tokens = [0]
        for (let i = 0; i < 8; i++) {
          const feeds = { input_ids: tensorData('int64', [source]), decoder_input_ids: tensorData('int64', [tokens]) }
          const { logits } = await executable.run(feeds)
          const scores = (logits.data as Float32Array).subarray(-logits.dims[2])
          tokens.push(scores.indexOf(Math.max(...scores)))
        }
        expect(newTokens[row]).toEqual(tokens.slice(1))
      }
      const plain = await peft.disableAdapter(() => peft.generate(PROMPTS, greedy))
      expect(plain.newTokens).not.toEqual(newTokens)
    },
  )
})

class CountingEngine extends Engine {
  compiled = 0
  override compile(...args: Parameters<Engine['compile']>): ReturnType<Engine['compile']> {
    this.compiled++
    return super.compile(...args)
  }
}
