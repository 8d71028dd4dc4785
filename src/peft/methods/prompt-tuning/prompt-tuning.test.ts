/** @file Prompt tuning: first values, options, and what it refuses. */

import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { AutoTokenizer } from '../../../data/index.ts'
import { relu, type Tensor } from '../../../graph/index.ts'
import { type Embedding, Linear, Module } from '../../../nn/index.ts'
import { tensorData } from '../../../runtime/index.ts'
import { getPeftModel, type PeftModel, PromptTuningConfig } from '../../index.ts'
import { difference, outputs, tiny } from '../../prompt-learning/testing/tiny.ts'

const tokenizerFolder = fileURLToPath(new URL('../../../data/testing/tiny-llama', import.meta.url))
const batch = { input_ids: tensorData('int64', [[5, 9, 2]]) }
const promptOf = (peft: PeftModel, name?: string) => peft.stateDict(name).get('prompt_embeddings')!

describe('the first values of a prompt', () => {
  it('are normal by default, the same from the same seed', async () => {
    const draw = (seed: number) =>
      promptOf(getPeftModel(tiny('causal', 'llama'), new PromptTuningConfig({ numVirtualTokens: 50 }), { seed })).data
    const values = draw(1)
    const mean = values.reduce((a, b) => a + b, 0) / values.length
    const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length
    expect(Math.abs(mean)).toBeLessThan(0.1)
    expect(Math.abs(variance - 1)).toBeLessThan(0.15)
    expect(draw(1)).toEqual(values)
    expect(draw(2)).not.toEqual(values)
  })

  it('are those of tokens of the vocabulary with SAMPLE_VOCAB', async () => {
    const model = tiny('causal', 'llama')
    const config = new PromptTuningConfig({ numVirtualTokens: 12, promptTuningInit: 'SAMPLE_VOCAB' })
    const values = await promptOf(getPeftModel(model, config)).read()
    const table = await (model.getInputEmbeddings() as Embedding).weight.read()
    const rows = (data: Float32Array) =>
      Array.from({ length: data.length / 24 }, (_, i) => data.slice(24 * i, 24 * i + 24).join())
    const tokens = rows(table)
    const chosen = rows(values).map(row => tokens.indexOf(row))
    expect(chosen).not.toContain(-1)
    expect(new Set(chosen).size).toBeGreaterThan(3)
    expect(await promptOf(getPeftModel(model, config)).read()).toEqual(values)
    expect(await promptOf(getPeftModel(model, config, { seed: 1 })).read()).not.toEqual(values)
  })

  it('are those of a text with TEXT, from the front again where it is too short, cut where it is too long', async () => {
    const tokenizer = await AutoTokenizer.fromPretrained(tokenizerFolder)
    const text = 'the story'
    const tokens = tokenizer.encode(text).inputIds
    const model = tiny('causal', 'llama', { vocab_size: 1 + Math.max(...tokens) })
    const table = await (model.getInputEmbeddings() as Embedding).weight.read()
    const row = (token: number) => [...table.subarray(24 * token, 24 * token + 24)]
    for (const count of [2, 2 * tokens.length + 1]) {
      const config = new PromptTuningConfig({
        ...{ numVirtualTokens: count, promptTuningInit: 'TEXT', promptTuningInitText: text },
        tokenizerNameOrPath: tokenizerFolder,
      })
      const values = await promptOf(getPeftModel(model, config)).read()
      const expected = Array.from({ length: count }, (_, i) => row(tokens[i % tokens.length])).flat()
      expect([...values]).toEqual(expected)
    }
  })

  it('of a text say what is wrong with its tokenizer', async () => {
    const text = { numVirtualTokens: 4, promptTuningInit: 'TEXT', promptTuningInitText: 'the story' } as const
    const read = (options: object) =>
      promptOf(
        getPeftModel(tiny('causal', 'llama', { vocab_size: 4 }), new PromptTuningConfig({ ...text, ...options })),
      ).read()
    await expect(read({ tokenizerNameOrPath: tokenizerFolder })).rejects.toThrow(/must be the model's own tokenizer/)
    await expect(read({ tokenizerNameOrPath: '/nowhere' })).rejects.toThrow(/nowhere/)
    await expect(read({ tokenizerNameOrPath: tokenizerFolder, tokenizerKwargs: { revision: 'x' } })).rejects.toThrow(
      /tokenizerKwargs/,
    )
  })

  it('are not read from a tokenizer that is not there, when the adapter is only used', async () => {
    const config = new PromptTuningConfig({
      ...{ numVirtualTokens: 2, promptTuningInit: 'TEXT', promptTuningInitText: 'x', tokenizerNameOrPath: '/nowhere' },
      inferenceMode: true,
    })
    await expect(promptOf(getPeftModel(tiny('causal', 'llama'), config)).read()).resolves.toHaveLength(48)
  })
})

describe('prompts', () => {
  it('train alone, and count as their closed form says', () => {
    const model = tiny('causal', 'llama')
    const peft = getPeftModel(model, new PromptTuningConfig({ numVirtualTokens: 5 }))
    expect(peft.getNbTrainableParameters()).toEqual({ trainable: 120, all: model.numParameters() + 120 })
    const seq2seq = getPeftModel(tiny('seq2seq', 't5'), new PromptTuningConfig({ numVirtualTokens: 5 }))
    expect(seq2seq.getNbTrainableParameters().trainable).toBe(240)
    expect(seq2seq.configOf('default').toJSON()).toMatchObject({
      num_transformer_submodules: 2,
      token_dim: 24,
      num_layers: 2,
    })
  })

  it('are switched, turned off and deleted', async () => {
    const model = tiny('causal', 'llama')
    const peft = getPeftModel(model, new PromptTuningConfig({ numVirtualTokens: 2 }))
    peft.addAdapter('other', new PromptTuningConfig({ numVirtualTokens: 3 }), { seed: 1 })
    const logits = async () => (await outputs(peft, batch, 'logits')).logits
    const [first, base] = [await logits(), (await outputs(model, batch, 'logits')).logits]
    expect(first.dims).toEqual([1, 5, 40])
    peft.setAdapter('other')
    expect((await logits()).dims).toEqual([1, 6, 40])
    peft.setAdapter(['default', 'other'])
    expect((await logits()).dims).toEqual([1, 8, 40])
    expect(difference(await peft.disableAdapter(logits), base)).toBe(0)
    peft.setAdapter('default')
    peft.deleteAdapter('other')
    expect(difference(await logits(), first)).toBe(0)
    peft.deleteAdapter('default')
    expect(difference(await logits(), base)).toBe(0)
    expect([...peft.namedParameters()].some(([name]) => name.includes('prompt_encoder'))).toBe(false)
  })

  it('cannot be merged, nor differ from row to row', async () => {
    const peft = getPeftModel(tiny('causal', 'llama'), new PromptTuningConfig({ numVirtualTokens: 2 }))
    await expect(peft.mergeAndUnload()).rejects.toThrow(/Prompt tuning cannot be merged.*"default"/)
    const rows = { ...batch, adapter_indices: tensorData('int64', [1]) }
    await expect(outputs(peft, rows, 'logits')).rejects.toThrow(/PROMPT_TUNING .* cannot differ from row to row/)
  })
})

class Net extends Module {
  hidden = new Linear(6, 8)
  forward(x: Tensor): Tensor {
    return relu(this.hidden.forward(x))
  }
}

describe('what prompt tuning refuses', () => {
  const on = (options: ConstructorParameters<typeof PromptTuningConfig>[0]) => () =>
    getPeftModel(tiny('causal', 'llama'), new PromptTuningConfig(options))

  it.each<[string, () => unknown, RegExp]>([
    ['no number of tokens', on({}), /numVirtualTokens is not given; say how many/],
    ['half a token', on({ numVirtualTokens: 1.5 }), /numVirtualTokens must be a whole number above 0, got 1.5/],
    [
      'tokens of another width',
      on({ numVirtualTokens: 2, tokenDim: 7 }),
      /tokenDim is 7, the tokens of llama are 24 wide/,
    ],
    ['an unknown beginning', on({ promptTuningInit: 'TEXTS' as never }), /"TEXTS" is not known. Did you mean "TEXT"/],
    [
      'TEXT without a text',
      on({ promptTuningInit: 'TEXT', tokenizerNameOrPath: 'x' }),
      /TEXT needs promptTuningInitText/,
    ],
    [
      'TEXT without a tokenizer',
      on({ promptTuningInit: 'TEXT', promptTuningInitText: 'x' }),
      /TEXT needs tokenizerNameOrPath/,
    ],
    ['options of a tokenizer without TEXT', on({ tokenizerKwargs: { a: 1 } }), /tokenizerKwargs has no effect/],
    [
      'an option that does not exist',
      on({ numVirtualToken: 2 } as never),
      /no option "numVirtualToken"\. Did you mean/,
    ],
    [
      'a module of one’s own',
      () => getPeftModel(new Net(), new PromptTuningConfig({ numVirtualTokens: 2 })),
      /have token embeddings; Net is a module of one's own. Use a method that works on layers/,
    ],
  ])('%s', (_, action, message) => {
    expect(action).toThrow(message)
  })
})
