/** @file Streams of text. */
import { cp } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { sharedFolder, skippable } from '../../test/shared.ts'
import { temporaryFolder } from '../../test/temporary.ts'
import { AutoTokenizer } from '../data/index.ts'
import { AutoModelForCausalLM } from '../models/index.ts'
import { getPeftModel, LoraConfig } from '../peft/index.ts'
import { Engine, NodeBackend } from '../runtime/index.ts'
import { generate, stream } from './index.ts'
import { characters, tinyModel } from './testing/tiny.ts'

const engine = new Engine(new NodeBackend())
afterAll(() => engine.dispose())

async function collect(pieces: AsyncIterable<string>): Promise<string[]> {
  const result: string[] = []
  for await (const piece of pieces) result.push(piece)
  return result
}

describe('stream', () => {
  const model = tinyModel('llama')
  const options = { engine, eosTokenId: null, maxNewTokens: 10, tokenizer: characters }

  it('gives pieces that make up the decoded new tokens', async () => {
    const { newTokens } = await generate(model, [5, 9, 2], options)
    const pieces = await collect(stream(model, [5, 9, 2], options))
    expect(pieces).toHaveLength(10)
    expect(pieces.join('')).toBe(characters.decode(newTokens[0]))
  })

  it('leaves special tokens out unless they are asked for', async () => {
    const [first] = (await generate(model, [5, 9, 2], options)).newTokens[0]
    const special = {
      decode: (ids: Iterable<number | bigint>, { skipSpecialTokens = false } = {}) => {
        return [...ids].map(id => (Number(id) === first ? (skipSpecialTokens ? '' : '<s>') : 'x')).join('')
      },
    }
    expect((await collect(stream(model, [5, 9, 2], { ...options, tokenizer: special }))).join('')).toMatch(/^x+$/)
    const shown = { ...options, tokenizer: special, skipSpecialTokens: false }
    expect((await collect(stream(model, [5, 9, 2], shown))).join('')).toMatch(/^<s>/)
  })

  it('leaves a stop string out where that is asked for, and nothing that only looks like its beginning', async () => {
    const whole = (await collect(stream(model, [5, 9, 2], options))).join('')
    const stop = whole.slice(4, 6)
    const before = whole.slice(0, whole.indexOf(stop))
    const stopping = { ...options, stopStrings: [stop, `${whole[0]}~`] }
    expect((await collect(stream(model, [5, 9, 2], stopping))).join('')).toBe(before + stop)
    const pieces = await collect(stream(model, [5, 9, 2], { ...stopping, includeStopString: false }))
    expect(pieces.join('')).toBe(before)
    const held = { ...options, stopStrings: `${whole.slice(-1)}~`, includeStopString: false }
    expect((await collect(stream(model, [5, 9, 2], held))).join('')).toBe(whole)
  })

  it('ends when the loop is left', async () => {
    let tokens = 0
    for await (const piece of stream(model, [5], { ...options, onToken: () => void tokens++ })) {
      expect(piece).toHaveLength(1)
      if (tokens === 2) break
    }
    expect(tokens).toBe(2)
  })

  it('throws the reason of an abort into the loop', async () => {
    const controller = new AbortController()
    const pieces = stream(model, [5], { ...options, signal: controller.signal })
    expect((await pieces.next()).done).toBe(false)
    controller.abort(new Error('enough'))
    await expect(pieces.next()).rejects.toThrow('enough')
  })

  it('keeps the adapters that were active when it was called', async () => {
    const config = new LoraConfig({ loraAlpha: 64, targetModules: ['q_proj', 'v_proj'], initLoraWeights: false })
    const peft = getPeftModel(model, config)
    const base = (await collect(model.stream([5, 9, 2], options))).join('')
    expect((await collect(peft.stream([5, 9, 2], options))).join('')).not.toBe(base)
    const pieces = await peft.disableAdapter(() => peft.stream([5, 9, 2], options))
    expect((await collect(pieces)).join('')).toBe(base)
  })

  it('refuses several prompts, and a model without a tokenizer', async () => {
    expect(() => stream(model, [[5], [6]] as never, options)).toThrow(/got 2 prompts, expected the tokens of one/)
    await expect(collect(stream(model, [5], { engine }))).rejects.toThrow(/give the option tokenizer/)
  })
})

const folder = sharedFolder('models', 'mini-llama')

describe.skipIf(!folder)(skippable('a pretrained model', !folder && 'the shared models are not here'), () => {
  it('finds its tokenizer and its end-of-text token beside it', async () => {
    const model = await AutoModelForCausalLM.fromPretrained(folder!)
    const tokenizer = await AutoTokenizer.fromPretrained(folder!)
    const prompt = tokenizer.encode('The').inputIds
    const { newTokens } = await model.generate(prompt, { engine, maxNewTokens: 12 })
    const pieces = await collect(model.stream(prompt, { engine, maxNewTokens: 12 }))
    expect(pieces.join('')).toBe(tokenizer.decode(newTokens[0], { skipSpecialTokens: true }))
    expect(pieces.length).toBeGreaterThan(2)
  })

  it('generates as generation_config.json says, unless options say otherwise', async () => {
    const copy = await temporaryFolder()
    await cp(folder!, copy, { recursive: true })
    const prompt = (await AutoTokenizer.fromPretrained(folder!)).encode('The').inputIds
    const said = { num_beams: 3, no_repeat_ngram_size: 2, max_length: prompt.length + 6, eos_token_id: null }
    const file = await temporaryFolder({ 'generation_config.json': JSON.stringify(said) })
    await cp(join(file, 'generation_config.json'), join(copy, 'generation_config.json'))
    const model = await AutoModelForCausalLM.fromPretrained(copy)
    const result = await model.generate(prompt, { engine })
    const given = { numBeams: 3, noRepeatNgramSize: 2, maxNewTokens: 6 }
    expect(result).toEqual(await model.generate(prompt, { engine, generationConfig: {}, ...given }))
    expect(result.sequencesScores).toHaveLength(1)
    const greedy = await model.generate(prompt, { engine, numBeams: 1, maxNewTokens: 4 })
    expect(greedy.newTokens[0]).toHaveLength(4)
    expect(greedy).not.toHaveProperty('sequencesScores')
    await expect(collect(model.stream(prompt, { engine }))).rejects.toThrow(/numBeams is 3.*give numBeams: 1/)
  })

  it('ends at the token that generation_config.json names', async () => {
    const copy = await temporaryFolder()
    await cp(folder!, copy, { recursive: true })
    const prompt = (await AutoTokenizer.fromPretrained(folder!)).encode('The').inputIds
    const free = await (await AutoModelForCausalLM.fromPretrained(copy)).generate(prompt, { engine, eosTokenId: null })
    const ending = await temporaryFolder({
      'generation_config.json': JSON.stringify({ eos_token_id: [1, free.newTokens[0][2]] }),
    })
    await cp(join(ending, 'generation_config.json'), join(copy, 'generation_config.json'))
    const result = await (await AutoModelForCausalLM.fromPretrained(copy)).generate(prompt, { engine })
    expect(result.finishReasons).toEqual(['eos'])
    expect(result.newTokens[0].length).toBeLessThanOrEqual(3)
  })
})
