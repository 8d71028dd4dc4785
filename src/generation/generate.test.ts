/** @file Generation: the cache against recomputation, batches, ends, adapters, and errors. */
import { afterAll, describe, expect, it } from 'vitest'
import { Graph } from '../graph/index.ts'
import {
  AutoConfig,
  AutoModelForCausalLM,
  AutoModelForSequenceClassification,
  type PreTrainedModel,
} from '../models/index.ts'
import { getPeftModel, LoraConfig, type PeftModel } from '../peft/index.ts'
import { Engine, type Executable, NodeBackend, tensorData } from '../runtime/index.ts'
import { generate, releaseGeneration } from './index.ts'
import { characters, TINY, tinyModel } from './testing/tiny.ts'

const engine = new Engine(new NodeBackend())
afterAll(() => engine.dispose())

/** Greedy tokens by running the whole sequence again for each. */
async function recompute(
  model: PreTrainedModel | PeftModel,
  prompt: readonly number[],
  count: number,
): Promise<number[]> {
  const graph = new Graph()
  const input_ids = graph.input('input_ids', 'int64', ['batch', 'sequence'])
  const { logits } = graph.trace(() => model.forward({ input_ids }))
  await using executable: Executable = await engine.compile({ logits: logits! }, { mode: 'small' })
  const tokens = [...prompt]
  for (let i = 0; i < count; i++) {
    const { logits } = await executable.run({ input_ids: tensorData('int64', [tokens]) })
    const row = (logits.data as Float32Array).subarray(-logits.dims[2])
    tokens.push(row.indexOf(Math.max(...row)))
  }
  return tokens.slice(prompt.length)
}

const greedy = { engine, eosTokenId: null, maxNewTokens: 12 }

describe.each(['llama', 'qwen2', 'gpt2'] as const)('generate with %s', type => {
  const model = tinyModel(type)

  it("gives the tokens that recomputing everything gives, within and across the cache's buckets", async () => {
    const expected = await recompute(model, [5, 9, 2], 12)
    expect(new Set(expected).size).toBeGreaterThan(3)
    for (const cacheBucket of [1, 4, 64]) {
      const { newTokens } = await generate(model, [5, 9, 2], { ...greedy, cacheBucket })
      expect(newTokens).toEqual([expected])
    }
  })

  it('gives each prompt of a batch what it gets alone', async () => {
    const prompts = [[5, 9, 2, 30, 31, 7, 8], [11], [3, 3, 3, 40]]
    const together = await generate(model, prompts, { ...greedy, cacheBucket: 4 })
    for (const [row, prompt] of prompts.entries()) {
      const alone = await generate(model, prompt, greedy)
      expect(together.newTokens[row]).toEqual(alone.newTokens[0])
      expect(together.sequences[row]).toEqual([...prompt, ...alone.newTokens[0]])
    }
  })
})

describe('generate with sliding windows', () => {
  it('hides what lies outside the window, whatever the bucket', async () => {
    const window = { use_sliding_window: true, sliding_window: 5, max_window_layers: 1 }
    const model = tinyModel('qwen2', window)
    const expected = await recompute(model, [5, 9, 2], 12)
    expect(expected).not.toEqual(await recompute(tinyModel('qwen2'), [5, 9, 2], 12))
    for (const cacheBucket of [4, 64]) {
      expect((await generate(model, [5, 9, 2], { ...greedy, cacheBucket })).newTokens).toEqual([expected])
    }
    const batch = await generate(
      model,
      [
        [5, 9, 2],
        [1, 2, 3, 4, 5, 6, 7, 8],
      ],
      greedy,
    )
    expect(batch.newTokens[0]).toEqual(expected)
  })
})

describe('the end of a text', () => {
  const model = tinyModel('llama')

  it('is the end-of-text token, row by row', async () => {
    const prompts = [
      [5, 9, 2],
      [11, 12],
    ]
    const free = await generate(model, prompts, greedy)
    const [first, second] = free.newTokens
    const eos = first.find((token, i) => i > 1 && first.indexOf(token) === i && !second.includes(token))!
    const at = first.indexOf(eos)
    const ended = await generate(model, prompts, { ...greedy, eosTokenId: [eos] })
    expect(ended.newTokens).toEqual([first.slice(0, at + 1), second])
    expect(ended.finishReasons).toEqual(['eos', 'length'])

    const later = await generate(model, prompts, { ...greedy, eosTokenId: eos, minNewTokens: at + 1 })
    expect(later.newTokens[0].slice(0, at)).toEqual(first.slice(0, at))
    expect(later.newTokens[0][at]).not.toBe(eos)
  })

  it("is the configuration's end-of-text token by default", async () => {
    const { newTokens } = await generate(model, [5, 9, 2], greedy)
    const token = newTokens[0][3]
    const ending = tinyModel('llama', { eos_token_id: token })
    const result = await generate(ending, [5, 9, 2], { engine, maxNewTokens: 12 })
    expect(result.finishReasons).toEqual(['eos'])
    expect(result.newTokens[0].at(-1)).toBe(token)
  })

  it('is a stop string, which may span tokens', async () => {
    const free = await generate(model, [5, 9, 2], greedy)
    const text = characters.decode(free.newTokens[0])
    const stop = text.slice(3, 5)
    const end = text.indexOf(stop) + 2
    const options = { ...greedy, stopStrings: stop, tokenizer: characters }
    const result = await generate(model, [5, 9, 2], options)
    expect(characters.decode(result.newTokens[0])).toBe(text.slice(0, end))
    expect(result.finishReasons).toEqual(['stop_string'])
  })

  it('is the last position of the model, with other rows going on', async () => {
    const short = tinyModel('gpt2', { n_positions: 8 })
    const result = await generate(
      short,
      [
        [1, 2, 3, 4, 5, 6],
        [7, 8],
      ],
      { ...greedy, maxNewTokens: 6 },
    )
    expect(result.newTokens.map(tokens => tokens.length)).toEqual([3, 6])
    expect(result.finishReasons).toEqual(['context_length', 'length'])
    const alone = await generate(short, [7, 8], { ...greedy, maxNewTokens: 6 })
    expect(result.newTokens[1]).toEqual(alone.newTokens[0])
  })
})

describe('drawing', () => {
  const model = tinyModel('llama')
  const options = { engine, eosTokenId: null, maxNewTokens: 16, doSample: true, temperature: 2 }

  it('is decided by the seed', async () => {
    const draw = async (seed?: number) => (await generate(model, [5, 9, 2], { ...options, seed })).newTokens[0]
    const first = await draw(7)
    expect(await draw(7)).toEqual(first)
    expect(await draw(8)).not.toEqual(first)
    expect(await draw()).not.toEqual(await draw())
  })

  it('among one token is greedy', async () => {
    const { newTokens } = await generate(model, [5, 9, 2], { ...options, topK: 1 })
    expect(newTokens).toEqual((await generate(model, [5, 9, 2], { ...greedy, maxNewTokens: 16 })).newTokens)
  })

  it('gives rows with the same prompt texts of their own', async () => {
    const { newTokens } = await generate(model, [[5], [5]], { ...options, seed: 1 })
    expect(newTokens[0]).not.toEqual(newTokens[1])
  })
})

describe('several texts a prompt', () => {
  const model = tinyModel('llama')
  const prompts = [[5, 9, 2], [11]]
  const options = { engine, eosTokenId: null, maxNewTokens: 10, doSample: true, temperature: 3, seed: 4 }

  it('are drawn apart, those of a prompt side by side', async () => {
    const { sequences, newTokens } = await generate(model, prompts, { ...options, numReturnSequences: 3 })
    expect(new Set(newTokens.map(tokens => tokens.join())).size).toBe(6)
    const beginnings = sequences.map((sequence, row) => sequence.slice(0, sequence.length - newTokens[row].length))
    expect(beginnings).toEqual([...Array(3).fill(prompts[0]), ...Array(3).fill(prompts[1])])
  })

  it('go on as they would from the prompt repeated', async () => {
    const repeated = prompts.flatMap(prompt => [prompt, prompt])
    const { newTokens } = await generate(model, prompts, { ...options, numReturnSequences: 2 })
    expect(newTokens).toEqual((await generate(model, repeated, options)).newTokens)
    // Rows leave the batch at their ends.
    const eosTokenId = newTokens[0][2]
    const ended = await generate(model, prompts, { ...options, numReturnSequences: 2, eosTokenId })
    expect(ended.newTokens).toEqual((await generate(model, repeated, { ...options, eosTokenId })).newTokens)
  })
})

describe('logprobs', () => {
  it('are told for each token, with the likeliest, and are not changed by options', async () => {
    const model = tinyModel('llama')
    const told: unknown[] = []
    const onToken = (_: number, __: number, logprob: unknown) => void told.push(logprob)
    const options = { ...greedy, maxNewTokens: 5, logprobs: true, topLogprobs: 2 }
    const { newTokens, logprobs } = await generate(model, [5, 9, 2], { ...options, onToken })
    expect(logprobs![0].map(({ token }) => token)).toEqual(newTokens[0])
    expect(told).toEqual(logprobs![0])
    for (const { token, logprob, topLogprobs } of logprobs![0]) {
      expect(topLogprobs).toHaveLength(2)
      expect(topLogprobs![0]).toEqual({ token, logprob })
      expect(logprob).toBeLessThan(0)
    }
    const penalized = await generate(model, [5, 9, 2], { ...options, logitBias: { [newTokens[0][0]]: -100 } })
    expect(penalized.logprobs![0][0].topLogprobs).toEqual(logprobs![0][0].topLogprobs)
    expect(penalized.newTokens[0][0]).not.toBe(newTokens[0][0])
    expect(await generate(model, [5], { ...greedy, maxNewTokens: 1 })).not.toHaveProperty('logprobs')
  })
})

describe('maxLength', () => {
  it('counts the prompt, row by row', async () => {
    const { newTokens } = await generate(tinyModel('llama'), [[5, 9, 2], [11]], {
      engine,
      eosTokenId: null,
      maxLength: 8,
    })
    expect(newTokens.map(tokens => tokens.length)).toEqual([5, 7])
    await expect(generate(tinyModel('llama'), [5, 9, 2], { engine, maxLength: 3 })).rejects.toThrow(
      /maxLength is 3, which counts the 3 tokens that stand before/,
    )
  })
})

describe('the defaults of a folder', () => {
  it('hold for what is not given, or others in their place', async () => {
    const model = tinyModel('llama')
    const generationConfig = { maxNewTokens: 4, eosTokenId: null, repetitionPenalty: 100 }
    const { newTokens } = await generate(model, [5, 9, 2], { engine, generationConfig })
    expect(newTokens[0]).toHaveLength(4)
    expect(new Set(newTokens[0]).size).toBe(4)
    const own = await generate(model, [5, 9, 2], { engine, generationConfig, maxNewTokens: 12, repetitionPenalty: 1 })
    expect(own.newTokens).toEqual((await generate(model, [5, 9, 2], greedy)).newTokens)
  })
})

describe('repetitionPenalty', () => {
  it('keeps a text from repeating itself', async () => {
    const model = tinyModel('llama')
    const { sequences } = await generate(model, [5, 9, 2], { ...greedy, maxNewTokens: 20, repetitionPenalty: 100 })
    expect(new Set(sequences[0]).size).toBe(23)
  })
})

describe('generate with adapters', () => {
  const adapted = (seed = 0) => {
    const config = new LoraConfig({ r: 4, loraAlpha: 32, targetModules: ['q_proj', 'v_proj'], initLoraWeights: false })
    return getPeftModel(tinyModel('llama'), config, { seed })
  }
  const prompt = [5, 9, 2]
  const of = async (model: PreTrainedModel | PeftModel) => (await model.generate(prompt, greedy)).newTokens[0]

  it('uses the adapter, and without it gives what the base gives', async () => {
    const peft = adapted()
    const base = await of(tinyModel('llama'))
    const own = await of(peft)
    expect(own).toEqual(await recompute(peft, prompt, 12))
    expect(own).not.toEqual(base)
    expect(await peft.disableAdapter(() => of(peft))).toEqual(base)
    expect(await of(peft)).toEqual(own)
    expect(await of(peft.getBaseModel() as PreTrainedModel)).toEqual(base)
  })

  it('uses new values after training, and those of the call during it', async () => {
    const peft = adapted()
    const before = await of(peft)
    const running = of(peft)
    for (const [name, parameter] of peft.adapterParameters()) if (name.includes('lora_B')) parameter.data.fill(0)
    expect(await of(peft)).toEqual(await of(tinyModel('llama')))
    expect(await running).toEqual(before)
  })

  it('decides on the adapters when it is called', async () => {
    const peft = adapted()
    peft.addAdapter('other', new LoraConfig({ r: 2, loraAlpha: 32, targetModules: ['o_proj'], initLoraWeights: false }))
    const expected = await of(peft)
    const running = of(peft)
    peft.setAdapter('other')
    expect(await running).toEqual(expected)
    const other = await of(peft)
    expect(other).not.toEqual(expected)
    expect(other).toEqual(await recompute(peft, prompt, 12))
  })

  it('compiles once for adapters of one shape, and again after it was released', async () => {
    const counting = new CountingEngine(new NodeBackend())
    const peft = adapted()
    for (const parameter of peft.getBaseModel().parameters()) parameter.requiresGrad = false
    const shape = { r: 4, loraAlpha: 32, targetModules: ['q_proj', 'v_proj'], initLoraWeights: false }
    peft.addAdapter('twin', new LoraConfig(shape), { seed: 5 })
    const options = { ...greedy, engine: counting }
    const first = await peft.generate(prompt, options)
    peft.setAdapter('twin')
    const second = await peft.generate([prompt, [1]], options)
    expect(second.newTokens[0]).not.toEqual(first.newTokens[0])
    expect(counting.compiled).toBe(1)
    await peft.disableAdapter(() => peft.generate(prompt, options))
    await (peft.getBaseModel() as PreTrainedModel).generate(prompt, options)
    expect(counting.compiled).toBe(2)
    await releaseGeneration(peft)
    await peft.generate(prompt, options)
    expect(counting.compiled).toBe(3)
    await counting.dispose()
  })

  it('notices another scale of the same values', async () => {
    const peft = adapted()
    const first = await of(peft)
    peft.deleteAdapter('default')
    const config = new LoraConfig({ r: 4, loraAlpha: 1, targetModules: ['q_proj', 'v_proj'], initLoraWeights: false })
    peft.addAdapter('default', config)
    const second = await of(peft)
    expect(second).not.toEqual(first)
    expect(second).toEqual(await recompute(peft, prompt, 12))
  })
})

class CountingEngine extends Engine {
  compiled = 0
  override compile(...args: Parameters<Engine['compile']>): ReturnType<Engine['compile']> {
    this.compiled++
    return super.compile(...args)
  }
}

describe('aborting', () => {
  const model = tinyModel('llama')

  it('ends between tokens with the reason', async () => {
    const controller = new AbortController()
    const tokens: number[] = []
    const onToken = (token: number) => {
      if (tokens.push(token) === 3) controller.abort(new Error('enough'))
    }
    const options = { ...greedy, signal: controller.signal, onToken }
    await expect(generate(model, [5, 9, 2], options)).rejects.toThrow('enough')
    expect(tokens).toHaveLength(3)
  })

  it('does not start when it is aborted already', async () => {
    const options = { ...greedy, signal: AbortSignal.abort(new Error('too late')) }
    await expect(generate(model, [5], options)).rejects.toThrow('too late')
  })
})

describe('onToken', () => {
  it('tells every token with its row, and is waited for', async () => {
    const model = tinyModel('llama')
    const told: number[][] = [[], []]
    const onToken = async (token: number, row: number) => {
      await Promise.resolve()
      told[row].push(token)
    }
    const { newTokens } = await generate(model, [[5], [6, 7]], { ...greedy, maxNewTokens: 4, onToken })
    expect(told).toEqual(newTokens)
  })
})

describe('what generate refuses', () => {
  const model = tinyModel('llama')
  const of = (inputs: unknown, options: object = {}) => generate(model, inputs as number[], { engine, ...options })

  it.each([
    [[], {}, /the prompt is empty/],
    [[[1], []], {}, /prompt 1 is empty/],
    ['hello', {}, /the inputs are "hello", expected token numbers/],
    [[1, 2.5], {}, /position 1 of the prompt holds 2.5, expected a token of the vocabulary, 0 to 63/],
    [[1, 64], {}, /position 1 of the prompt holds 64/],
    [Array(129).fill(1), {}, /129 tokens, the model was made for 128/],
    [[1], { maxNewToken: 3 }, /no option "maxNewToken". Did you mean "maxNewTokens"/],
    [[1], { maxNewTokens: 0 }, /maxNewTokens is 0, expected a whole number of at least 1/],
    [[1], { minNewTokens: 30 }, /minNewTokens is 30, expected a whole number from 0 to maxNewTokens \(20\)/],
    [[1], { doSample: true, temperature: 0 }, /temperature is 0, expected a number above 0/],
    [[1], { doSample: true, topK: -1 }, /topK is -1/],
    [[1], { doSample: true, topP: 1.5 }, /topP is 1.5, expected a number from 0 to 1/],
    [[1], { temperature: 0.7, seed: 1 }, /temperature, seed have no effect on the most likely tokens/],
    [[1], { repetitionPenalty: 0 }, /repetitionPenalty is 0/],
    [[1], { eosTokenId: 64 }, /eosTokenId is 64, expected a token of the vocabulary/],
    [[1], { padTokenId: -1 }, /padTokenId is -1, expected a token/],
    [[1], { stopStrings: 'x' }, /stopStrings were given without a tokenizer/],
    [[1], { stopStrings: '', tokenizer: characters }, /stopStrings is "", expected texts of at least one character/],
  ])('%j with %j', async (inputs, options, message) => {
    await expect(of(inputs, options)).rejects.toThrow(message)
  })

  it('a model that does not predict tokens', async () => {
    const classifier = AutoModelForSequenceClassification.fromConfig(AutoConfig.fromJSON(TINY.llama))
    await expect(classifier.generate([1])).rejects.toThrow(/is for SEQ_CLS and does not predict tokens/)
  })

  it('a model that gives no numbers', async () => {
    const broken = AutoModelForCausalLM.fromConfig(AutoConfig.fromJSON(TINY.llama))
    broken.initialize(0)
    for (const parameter of broken.parameters()) parameter.data.fill(Number.NaN)
    await expect(broken.generate([1], { engine })).rejects.toThrow(/no finite logits/)
  })

  it('takes sampling options with doSample: false, as files of configurations have them', async () => {
    const result = await of([1], { doSample: false, temperature: 0.7, maxNewTokens: 1 })
    expect(result.newTokens[0]).toHaveLength(1)
  })
})
