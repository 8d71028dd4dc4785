/** @file Generation behind an encoder: the cache against recomputation, batches, beginnings and ends, adapters. */
import { afterAll, describe, expect, it } from 'vitest'
import { Graph } from '../graph/index.ts'
import { AutoConfig, AutoModelForSeq2SeqLM, type PreTrainedModel } from '../models/index.ts'
import { getPeftModel, LoraConfig, type PeftModel } from '../peft/index.ts'
import { Engine, type Executable, NodeBackend, tensorData } from '../runtime/index.ts'
import { generate, stream } from './index.ts'
import { characters, tinyModel } from './testing/tiny.ts'

const engine = new Engine(new NodeBackend())
afterAll(() => engine.dispose())

const T5 = { vocab_size: 64, d_model: 32, d_kv: 8, d_ff: 48, num_layers: 2, num_decoder_layers: 3, num_heads: 4 }
// An output layer of its own, so that the most likely tokens vary.
const untied = { tie_word_embeddings: false }
const SIZES = {
  t5: { ...T5, ...untied, decoder_start_token_id: 0, initializer_factor: 1.5, scale_decoder_outputs: true },
  mt5: { ...T5, ...untied, relative_attention_max_distance: 20 },
  bart: {
    ...{ vocab_size: 64, d_model: 32, encoder_layers: 2, encoder_ffn_dim: 48, encoder_attention_heads: 4 },
    ...{ decoder_layers: 3, decoder_ffn_dim: 40, decoder_attention_heads: 2, max_position_embeddings: 40 },
    ...{ ...untied, init_std: 0.2, scale_embedding: true, forced_eos_token_id: null },
  },
} as const

/** An encoder-decoder with random values, always the same. */
function tiny(type: keyof typeof SIZES, overrides: object = {}): PreTrainedModel {
  const json = { model_type: type, ...SIZES[type], ...overrides }
  const model = AutoModelForSeq2SeqLM.fromConfig(AutoConfig.fromJSON(json as { model_type: string }))
  model.initialize(3)
  return model
}

/** Greedy tokens by running the encoder and the whole decoder again for each. */
async function recompute(model: PreTrainedModel | PeftModel, prompt: readonly number[], start: number, count: number) {
  const graph = new Graph()
  const input_ids = graph.input('input_ids', 'int64', ['batch', 'sequence'])
  const decoder_input_ids = graph.input('decoder_input_ids', 'int64', ['batch', 'target'])
  const { logits } = graph.trace(() => model.forward({ input_ids, decoder_input_ids }))
  await using executable: Executable = await engine.compile({ logits: logits! }, { mode: 'small' })
  const tokens = [start]
  for (let i = 0; i < count; i++) {
    const feeds = { input_ids: tensorData('int64', [[...prompt]]), decoder_input_ids: tensorData('int64', [tokens]) }
    const { logits } = await executable.run(feeds)
    const row = (logits.data as Float32Array).subarray(-logits.dims[2])
    tokens.push(row.indexOf(Math.max(...row)))
  }
  return tokens
}

const greedy = { engine, eosTokenId: null, maxNewTokens: 12 }
const prompts = [[5, 9, 2, 30, 31, 7, 8], [11], [3, 3, 3, 40]]

describe.each(['t5', 'mt5', 'bart'] as const)('generate with %s', type => {
  const model = tiny(type)
  const start = type === 'bart' ? 2 : 0

  it("gives the tokens that recomputing everything gives, within and across the cache's buckets", async () => {
    const expected = await recompute(model, prompts[0], start, 30)
    expect(new Set(expected).size).toBeGreaterThan(3)
    for (const cacheBucket of [1, 4, 64]) {
      const { sequences } = await generate(model, prompts[0], { ...greedy, maxNewTokens: 30, cacheBucket })
      expect(sequences).toEqual([expected])
    }
  })

  it('gives each prompt of a batch what it gets alone', async () => {
    const together = await generate(model, prompts, greedy)
    for (const [row, prompt] of prompts.entries()) {
      const alone = await generate(model, prompt, greedy)
      expect(together.newTokens[row]).toEqual(alone.newTokens[0])
      expect(together.sequences[row]).toEqual([start, ...alone.newTokens[0]])
    }
    expect(together.newTokens[0]).not.toEqual(together.newTokens[1])
  })
})

describe('the beginning', () => {
  const model = tiny('mt5')

  it("is the decoder's start, of the configuration or as asked for", async () => {
    const { sequences } = await generate(model, prompts[0], { ...greedy, decoderStartTokenId: 7 })
    expect(sequences[0]).toEqual(await recompute(model, prompts[0], 7, 12))
    expect(sequences[0]).not.toEqual((await generate(model, prompts[0], greedy)).sequences[0])
  })

  it('must be known', async () => {
    const open = tiny('t5', { decoder_start_token_id: null })
    await expect(generate(open, [1], greedy)).rejects.toThrow(/no "decoder_start_token_id".*give decoderStartTokenId/)
  })

  it('can be forced by the configuration, or left to the model', async () => {
    const forcing = tiny('bart', { forced_bos_token_id: 17 })
    const { newTokens } = await generate(forcing, prompts[0], greedy)
    expect(newTokens[0][0]).toBe(17)
    const free = await generate(forcing, prompts[0], { ...greedy, forcedBosTokenId: null })
    expect(free.newTokens).toEqual((await generate(tiny('bart'), prompts[0], greedy)).newTokens)
  })
})

describe('the end', () => {
  it('is the end-of-text token, row by row', async () => {
    const model = tiny('bart')
    const [first, second] = (await generate(model, prompts.slice(0, 2), greedy)).newTokens
    const eos = first.find((token, i) => i > 0 && first.indexOf(token) === i && !second.includes(token))!
    const ended = await generate(model, prompts.slice(0, 2), { ...greedy, eosTokenId: eos })
    expect(ended.newTokens).toEqual([first.slice(0, first.indexOf(eos) + 1), second])
    expect(ended.finishReasons).toEqual(['eos', 'length'])
  })

  it('can be forced where the text may not be longer', async () => {
    const model = tiny('bart')
    const free = (await generate(model, prompts[0], greedy)).newTokens[0]
    const { newTokens } = await generate(model, prompts[0], { ...greedy, forcedEosTokenId: 50 })
    expect(newTokens[0]).toEqual([...free.slice(0, 11), 50])
  })

  it("is the last position of the decoder, whatever the prompt's length", async () => {
    const model = tiny('bart', { max_position_embeddings: 8 })
    const result = await generate(model, [prompts[0], [1]], greedy)
    expect(result.newTokens.map(tokens => tokens.length)).toEqual([8, 8])
    expect(result.finishReasons).toEqual(['context_length', 'context_length'])
    await expect(generate(model, Array(9).fill(1), greedy)).rejects.toThrow(/9 tokens, the model was made for 8/)
  })
})

describe('drawing', () => {
  it('is decided by the seed', async () => {
    const options = { engine, eosTokenId: null, maxNewTokens: 12, doSample: true, temperature: 5 }
    const draw = async (seed: number) => (await generate(tiny('mt5'), prompts, { ...options, seed })).newTokens
    expect(await draw(7)).toEqual(await draw(7))
    expect(await draw(7)).not.toEqual(await draw(8))
  })
})

describe('stream', () => {
  it('gives the decoded new tokens', async () => {
    const model = tiny('mt5')
    const { newTokens } = await generate(model, prompts[0], greedy)
    let text = ''
    for await (const piece of stream(model, prompts[0], { ...greedy, tokenizer: characters })) text += piece
    expect(text).toBe(characters.decode(newTokens[0], { skipSpecialTokens: true }))
  })
})

describe('adapters', () => {
  it('count in the encoder, in cross-attention and in the decoder', async () => {
    const base = tiny('mt5')
    const expected = (await generate(base, prompts[0], greedy)).sequences[0]
    for (const targetModules of [String.raw`encoder\..*\.q`, String.raw`.*EncDecAttention\.v`, String.raw`.*\.wi_0`]) {
      const config = new LoraConfig({ r: 4, loraAlpha: 32, targetModules, initLoraWeights: false })
      const peft = getPeftModel(base, config)
      const { sequences } = await peft.generate(prompts[0], greedy)
      expect(sequences[0]).toEqual(await recompute(peft, prompts[0], 0, 12))
      expect(sequences[0]).not.toEqual(expected)
      const off = await peft.disableAdapter(() => peft.generate(prompts[0], greedy))
      expect(off.sequences[0]).toEqual(expected)
    }
  })
})

describe('what a decoder without an encoder refuses', () => {
  it('is a start of its own', async () => {
    await expect(generate(tinyModel('llama'), [1], { engine, decoderStartTokenId: 3 })).rejects.toThrow(
      /decoderStartTokenId is 3, but the model has no encoder/,
    )
  })
})
