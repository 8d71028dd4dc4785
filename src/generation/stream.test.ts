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
