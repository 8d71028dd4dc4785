/** @file Prefix tuning: keys and values in front of a text, P-tuning v2, and what it refuses. */
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../../../test/temporary.ts'
import { compile } from '../../../models/function.ts'
import type { PreTrainedModel } from '../../../models/index.ts'
import { KeyValueCache } from '../../../nn/index.ts'
import { floats, tensorData } from '../../../runtime/index.ts'
import { SafetensorsFile } from '../../../weights/index.ts'
import { getPeftModel, PeftModel, PrefixTuningConfig } from '../../index.ts'
import { columns, difference, outputs, tiny } from '../../prompt-learning/testing/tiny.ts'

const tokens = [
  [5, 9, 2, 30, 31],
  [11, 12, 13, 0, 0],
]
const batch = {
  input_ids: tensorData('int64', tokens),
  attention_mask: tensorData('int64', [
    [1, 1, 1, 1, 1],
    [1, 1, 1, 0, 0],
  ]),
}
const FRONT = [7, 21, 3]
const plain = (options: object = {}) => new PrefixTuningConfig({ numVirtualTokens: FRONT.length, ...options })

/** What a decoder keeps of tokens, laid out as a table of prefixes. */
async function keysAndValues(model: PreTrainedModel): Promise<Float32Array> {
  await using run = await compile(model as never, (_, { ids }) => {
    const cache = new KeyValueCache([])
    model.forward({ input_ids: ids, cache })
    const parts = cache.present.flatMap(({ key, value }) => [key, value])
    return Object.fromEntries(parts.map((part, i) => [`${i}`, part]))
  })
  const results = await run({ ids: tensorData('int64', [FRONT]) })
  const parts = Object.keys(results).length
  const [, heads, length, width] = results[0].dims
  const table = new Float32Array(length * parts * heads * width)
  for (let part = 0; part < parts; part++) {
    const values = floats(results[part])
    for (let head = 0; head < heads; head++) {
      for (let position = 0; position < length; position++) {
        const from = (head * length + position) * width
        table.set(values.subarray(from, from + width), ((position * parts + part) * heads + head) * width)
      }
    }
  }
  return table
}

describe('a prefix', () => {
  it.each(['llama', 'gpt2'])(
    'that %s makes of tokens computes what these tokens compute in front of the text',
    async type => {
      const model = tiny('causal', type)
      const peft = getPeftModel(model, plain())
      peft.stateDict().get('prompt_embeddings')!.data = await keysAndValues(model)
      const text = {
        input_ids: tensorData(
          'int64',
          tokens.map(row => [...FRONT, ...row]),
        ),
      }
      const expected = (await outputs(model, text, 'logits')).logits
      const got = (await outputs(peft, { input_ids: batch.input_ids }, 'logits')).logits
      expect(got.dims).toEqual([2, 5, 40])
      expect(difference(got, columns(expected, FRONT.length))).toBeLessThan(1e-4)
    },
  )

  it('fits the shared heads of keys and values', () => {
    const peft = getPeftModel(tiny('causal', 'llama'), plain())
    expect(peft.configOf('default').toJSON()).toMatchObject({
      num_attention_heads: 2,
      token_dim: 12,
      encoder_hidden_size: 12,
    })
    expect(peft.getNbTrainableParameters().trainable).toBe(3 * 2 * 2 * 12)
  })

  it('of zeros makes values of zero, whether or not it is projected', async () => {
    const prefixes = [plain({ initWeights: 'zero' }), plain({ initWeights: 'zero', prefixProjection: true })]
    const results = []
    for (const config of prefixes) {
      const peft = getPeftModel(tiny('causal', 'llama'), config)
      expect((await peft.stateDict().get('prompt_embeddings')!.read()).every(value => value === 0)).toBe(true)
      results.push((await outputs(peft, batch, 'logits')).logits)
    }
    expect(difference(results[0], results[1])).toBe(0)
  })

  it('in the decoder of an encoder-decoder has entries that layers share, as PEFT has them', async () => {
    const model = tiny('seq2seq', 't5')
    const source = {
      ...batch,
      labels: tensorData('int64', [
        [3, 4],
        [5, 6],
      ]),
    }
    const results: Record<number, boolean[]> = {}
    for (const numTransformerSubmodules of [2, 1]) {
      const peft = getPeftModel(model, plain({ numTransformerSubmodules }))
      const table = peft.stateDict().get('prompt_embeddings')!
      const before = (await outputs(peft, source, 'logits')).logits
      results[numTransformerSubmodules] = []
      for (let entry = 0; entry < 4; entry++) {
        const kept = table.data.slice()
        table.data = kept.map((value, i) => (Math.floor((i % 96) / 24) === entry ? value + 1 : value))
        const counts = difference((await outputs(peft, source, 'logits')).logits, before) > 1e-5
        results[numTransformerSubmodules].push(counts)
        table.data = kept
      }
    }
    expect(results).toEqual({ 2: [true, true, false, false], 1: [true, true, true, true] })
  })

  it('is switched and turned off, and several stand one behind the other', async () => {
    const model = tiny('causal', 'llama')
    const peft = getPeftModel(model, plain())
    peft.addAdapter('other', plain({ numVirtualTokens: 2 }), { seed: 1 })
    const logits = async () => (await outputs(peft, batch, 'logits')).logits
    const base = (await outputs(model, batch, 'logits')).logits
    const first = await logits()
    peft.setAdapter('other')
    const second = await logits()
    peft.setAdapter(['default', 'other'])
    const both = await logits()
    const all = [base, first, second, both]
    for (const [i, a] of all.entries()) for (const b of all.slice(0, i)) expect(difference(a, b)).toBeGreaterThan(1e-3)
    peft.setAdapter('default')
    expect(difference(await logits(), first)).toBe(0)
    expect(difference(await peft.disableAdapter(logits), base)).toBe(0)
  })
})

describe('P-tuning v2', () => {
  it('trains a prefix as it is with the head, and saves both', async () => {
    const config = PrefixTuningConfig.pTuningV2({ taskType: 'SEQ_CLS', numVirtualTokens: 3 })
    const model = tiny('seqcls', 'bert')
    const peft = getPeftModel(model, config)
    const trained = [...peft.namedParameters()].filter(([, p]) => p.requiresGrad).map(([name]) => name)
    expect(trained).toEqual([
      'base_model.model.classifier.modules_to_save.default.weight',
      'base_model.model.classifier.modules_to_save.default.bias',
      'prompt_encoder.default.embedding.weight',
    ])
    for (const parameter of peft.parameters())
      if (parameter.requiresGrad) parameter.data = parameter.data.map(x => x + 0.1)
    const folder = await temporaryFolder()
    await peft.savePretrained(folder)
    await using file = await SafetensorsFile.open(`${folder}/adapter_model.safetensors`)
    expect(file.names).toEqual(['base_model.classifier.bias', 'base_model.classifier.weight', 'prompt_embeddings'])
    const back = await PeftModel.fromPretrained(model, folder)
    const [a, b] = [await outputs(back, batch, 'logits'), await outputs(peft, batch, 'logits')]
    expect(difference(a.logits, b.logits)).toBe(0)
  })

  it.each([
    [{ numVirtualTokens: 3 }, /taskType is undefined; P-tuning v2 trains a head.*SEQ_CLS, TOKEN_CLS, QUESTION_ANS/],
    [{ numVirtualTokens: 3, taskType: 'CAUSAL_LM' as const }, /taskType is "CAUSAL_LM"/],
    [{ numVirtualTokens: 3, taskType: 'SEQ_CLS' as const, prefixProjection: true }, /leave prefixProjection out/],
  ])('refuses %j', (options, message) => {
    expect(() => PrefixTuningConfig.pTuningV2(options)).toThrow(message)
  })
})

describe('what prefix tuning refuses', () => {
  const on = (options: object) => () => getPeftModel(tiny('causal', 'llama'), new PrefixTuningConfig(options))

  it.each<[string, () => unknown, RegExp]>([
    ['no number of tokens', on({}), /numVirtualTokens is not given/],
    ['an unknown beginning', on({ initWeights: 'zeros' }), /initWeights must be "zero" or left out, got "zeros"/],
    [
      'heads of another number',
      on({ numVirtualTokens: 2, numAttentionHeads: 4 }),
      /numAttentionHeads is 4, .* llama have 2; leave it out/,
    ],
    ['keys of another width', on({ numVirtualTokens: 2, tokenDim: 24 }), /tokenDim is 24, .* llama have 12/],
    ['a width of zero', on({ encoderHiddenSize: 0 }), /encoderHiddenSize must be a whole number above 0/],
  ])('%s', (_, action, message) => {
    expect(action).toThrow(message)
  })
})
