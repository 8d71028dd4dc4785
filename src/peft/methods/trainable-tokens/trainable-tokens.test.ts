/** @file Trainable tokens: only the chosen rows change, in look-ups, in products and in what is tied. */
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../../../test/temporary.ts'
import type { Tensor } from '../../../graph/index.ts'
import { compile } from '../../../models/function.ts'
import {
  AutoConfig,
  AutoModel,
  AutoModelForCausalLM,
  AutoModelForSeq2SeqLM,
  type PreTrainedModel,
} from '../../../models/index.ts'
import { Embedding, Linear, Module, ParameterVector } from '../../../nn/index.ts'
import { floats, tensorData } from '../../../runtime/index.ts'
import { SGD, valueAndGrad } from '../../../training/index.ts'
import {
  attachTokens,
  getPeftModel,
  LoraConfig,
  PeftModel,
  TokenAdapterLayer,
  TrainableTokensConfig,
  type TrainableTokensConfigOptions,
  withoutTies,
} from '../../index.ts'

const llama = (tied = true, seed = 1) => {
  const config = AutoConfig.fromJSON({
    model_type: 'llama',
    vocab_size: 20,
    hidden_size: 8,
    intermediate_size: 8,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    num_key_value_heads: 2,
    tie_word_embeddings: tied,
  } as never)
  const model = AutoModelForCausalLM.fromConfig(config)
  model.initialize(seed)
  return model
}

const TOKENS = [3, 1, 7]
const ids = tensorData('int64', [1, 3, 5, 7, 2, 3, 9, 11], [2, 4])
const other = tensorData('int64', [2, 4, 5, 6, 2, 8, 9, 11], [2, 4])

const logits = async (model: Module, input_ids = ids) => {
  await using run = await compile(model, (m, inputs) => ({
    y: (m as unknown as PreTrainedModel).forward(inputs).logits as Tensor,
  }))
  return floats((await run({ input_ids })).y).slice()
}

async function train(peft: PeftModel, steps = 3) {
  await using step = await valueAndGrad(peft as Module, (_, inputs) => peft.forward(inputs).loss as Tensor)
  const trained = [...peft.namedParameters()].filter(([, { requiresGrad }]) => requiresGrad)
  const optimizer = new SGD(await ParameterVector.load(trained), { lr: 0.5 })
  const losses: number[] = []
  for (let i = 0; i < steps; i++) {
    const { value, grads } = await step({ input_ids: ids, labels: ids })
    losses.push(value)
    optimizer.step(grads)
  }
  return losses
}

const adapted = (options: TrainableTokensConfigOptions = {}, tied = true) =>
  getPeftModel(llama(tied), new TrainableTokensConfig({ tokenIndices: TOKENS, ...options }))

const rowsOf = (peft: PeftModel, name = 'default') => [...peft.stateDict(name).values()][0]

describe('trainable tokens', () => {
  it('change nothing at first, then the chosen rows alone, and lower the loss', async () => {
    const base = llama(false)
    const peft = getPeftModel(base, new TrainableTokensConfig({ tokenIndices: TOKENS }))
    expect(await logits(peft)).toEqual(await logits(base))
    const losses = await train(peft)
    expect(losses.at(-1)).toBeLessThan(losses[0])
    expect(await logits(peft)).not.toEqual(await logits(base))
    expect(await logits(peft, other)).toEqual(await logits(base, other))
    expect(peft.getNbTrainableParameters().trainable).toBe(3 * 8)
  })

  it('have the gradients that the base’s own rows have, for tied tables the sum of both', async () => {
    for (const tied of [false, true]) {
      const base = llama(tied)
      const peft = getPeftModel(base, new TrainableTokensConfig({ tokenIndices: TOKENS }))
      await using own = await valueAndGrad(peft as Module, (_, inputs) => peft.forward(inputs).loss as Tensor)
      const parameters = [...base.namedParameters()].filter(([name]) => name === 'model.embed_tokens.weight')
      await using direct = await valueAndGrad(base as Module, (_, inputs) => base.forward(inputs).loss as Tensor, {
        parameters,
      })
      const batch = { input_ids: ids, labels: ids }
      const [got, whole] = [(await own(batch)).grads.data, (await direct(batch)).grads.data]
      TOKENS.forEach((token, i) => {
        for (let j = 0; j < 8; j++) expect(got[i * 8 + j]).toBeCloseTo(whole[token * 8 + j], 6)
      })
    }
  })

  it('are saved for every tied table under PEFT’s keys, and come back', async () => {
    const peft = adapted()
    await train(peft)
    expect([...peft.stateDict().keys()].sort()).toEqual([
      'base_model.model.lm_head.trainable_tokens_delta',
      'base_model.model.model.embed_tokens.trainable_tokens_delta',
    ])
    expect(peft.configOf('default').toJSON()).toMatchObject({
      target_modules: 'model.embed_tokens',
      token_indices: TOKENS,
    })
    expect(peft.getNbTrainableParameters().trainable).toBe(3 * 8)
    const folder = await temporaryFolder()
    await peft.savePretrained(folder)
    const back = await PeftModel.fromPretrained(llama(), folder)
    expect(await logits(back)).toEqual(await logits(peft))
  })

  it('of all tables that T5 ties follow its shared one', async () => {
    const config = AutoConfig.fromJSON({
      model_type: 't5',
      vocab_size: 20,
      d_model: 8,
      d_kv: 4,
      d_ff: 8,
      num_layers: 1,
      num_heads: 2,
      decoder_start_token_id: 0,
    } as never)
    const peft = getPeftModel(
      AutoModelForSeq2SeqLM.fromConfig(config),
      new TrainableTokensConfig({ tokenIndices: [1, 3] }),
    )
    // The keys of peft 0.21.2 for the same model.
    expect([...peft.stateDict().keys()].sort()).toEqual(
      ['decoder.embed_tokens', 'encoder.embed_tokens', 'lm_head', 'shared'].map(
        path => `base_model.model.${path}.trainable_tokens_delta`,
      ),
    )
    expect(peft.getNbTrainableParameters().trainable).toBe(16)
  })

  it('stay tied when the embedding and the head are both named', async () => {
    const peft = adapted({ targetModules: ['embed_tokens', 'lm_head'] })
    expect(peft.getNbTrainableParameters().trainable).toBe(3 * 8)
    expect(new Set(peft.stateDict().values()).size).toBe(1)
  })

  it('of a head alone leave the embedding that it is tied to as it is', async () => {
    const base = llama()
    const peft = getPeftModel(
      base,
      new TrainableTokensConfig({ tokenIndices: TOKENS, targetModules: ['lm_head'], initWeights: false }),
    )
    const [got, before] = [await logits(peft), await logits(base)]
    got.forEach((value, i) => {
      if (TOKENS.includes(i % 20)) expect(value).not.toBe(before[i])
      else expect(value).toBe(before[i])
    })
  })

  it('merge into tables that stay tied, and come out again exactly', async () => {
    for (const tied of [true, false]) {
      const peft = adapted({}, tied)
      await train(peft)
      const expected = await logits(peft)
      const merged = await peft.mergeAndUnload()
      expect([...merged.namedParameters()].map(([name]) => name)).toEqual(
        [...llama(tied).namedParameters()].map(([name]) => name),
      )
      const close = (got: Float32Array) =>
        got.forEach((value, i) => {
          expect(value).toBeCloseTo(expected[i], 6)
        })
      close(await logits(merged))
      await peft.mergeAdapter()
      close(await logits(peft))
      await peft.unmergeAdapter()
      expect(await logits(peft)).toEqual(expected)
    }
  })

  it('of two adapters work together where they differ, and are refused where they overlap', async () => {
    const peft = adapted({ initWeights: false })
    const [base, first] = [await logits(llama()), await logits(peft)]
    peft.addAdapter('second', new TrainableTokensConfig({ tokenIndices: [5], initWeights: false }), { seed: 2 })
    peft.addAdapter('third', new TrainableTokensConfig({ tokenIndices: [5, 7] }))
    peft.setAdapter('second')
    const second = await logits(peft)
    expect(second).not.toEqual(base)
    peft.setAdapter(['default', 'second'])
    const both = await logits(peft)
    expect(both).not.toEqual(first)
    expect(both).not.toEqual(second)
    peft.setAdapter(['default', 'third'])
    await expect(logits(peft)).rejects.toThrow(/"default" and "third" both train the token 7/)
    peft.deleteAdapter('third')
    peft.deleteAdapter('second')
    expect(await logits(peft)).toEqual(first)
    peft.deleteAdapter('default')
    expect(await logits(peft)).toEqual(base)
  })

  it('keep the row of padding without a gradient from looking it up, as PyTorch does', async () => {
    class Net extends Module {
      table = new Embedding(6, 2, { paddingIndex: 4 })
      forward(x: Tensor) {
        return this.table.forward(x)
      }
    }
    const net = new Net()
    net.initialize(1)
    const peft = getPeftModel(net, new TrainableTokensConfig({ tokenIndices: [2, 4], targetModules: ['table'] }))
    const { sum } = await import('../../../graph/index.ts')
    await using step = await valueAndGrad(peft as unknown as Net, (m, { x }) => sum(m.forward(x)))
    const { grads } = await step({ x: tensorData('int64', [2, 4, 4, 2, 0]) })
    expect([...grads.data]).toEqual([2, 2, 0, 0])
  })

  it('draw their values by seed where they are drawn', () => {
    const values = (seed: number) =>
      rowsOf(
        getPeftModel(llama(), new TrainableTokensConfig({ tokenIndices: TOKENS, initWeights: false }), { seed }),
      ).data.slice()
    expect(values(1)).toEqual(values(1))
    expect(values(1)).not.toEqual(values(2))
  })

  it('have the parameters of the closed form: 10 tokens of BERT base', () => {
    const config = AutoConfig.fromJSON({ model_type: 'bert' })
    const tokenIndices = Array.from({ length: 10 }, (_, i) => i)
    const peft = getPeftModel(AutoModel.fromConfig(config), new TrainableTokensConfig({ tokenIndices }))
    expect(peft.getNbTrainableParameters().trainable).toBe(7680)
  })

  it.each([
    [{ tokenIndices: [] }, /tokenIndices names no token/],
    [{ tokenIndices: [20] }, /token 20 cannot be trained: the table has the rows 0 to 19/],
    [{ tokenIndices: [-1] }, /token -1 cannot be trained/],
    [{ tokenIndices: [2, 2] }, /token 2 is named twice/],
    [{ targetModules: ['norm'] }, /cannot work on "model.norm"/],
  ])('refuse %o', (options, message) => {
    expect(() => adapted(options)).toThrow(message)
  })

  it('refuse indices that are no whole numbers', () => {
    expect(() => new TrainableTokensConfig({ tokenIndices: [1.5] })).toThrow(/list of whole numbers, got \[1.5\]/)
  })

  it('refuse a file whose tied tables differ', async () => {
    const { setPeftModelStateDict } = await import('../../index.ts')
    const peft = adapted()
    const entries = [...peft.stateDict().keys()].map(
      (key, i) => [key, { shape: [3, 8], read: async () => new Float32Array(24).fill(i) }] as const,
    )
    await expect(setPeftModelStateDict(peft, new Map(entries))).rejects.toThrow(/is tied to another one of the file/)
  })
})

describe('attachTokens', () => {
  class Tables extends Module {
    embedding = new Embedding(6, 4)
    head = new Linear(4, 6)
    constructor() {
      super()
      this.head.weight = this.embedding.weight
    }
    forward(x: Tensor) {
      return this.head.forward(this.embedding.forward(x))
    }
  }

  it('puts rows on a table and on what is tied to it, under PEFT’s names', () => {
    const tree = new Tables()
    tree.initialize(1)
    const state = { active: ['a'], disabled: false }
    const layer = attachTokens('embedding', { tree, adapterName: 'a', state, tokens: [2] })
    expect(layer.rows.get('a')!.shape).toEqual([1, 4])
    expect(tree.head).toBeInstanceOf(TokenAdapterLayer)
    const own = new Map([...tree.parameterSlots()].filter(([name]) => name.includes('trainable')))
    expect([...own.keys()]).toEqual([
      'embedding.token_adapter.trainable_tokens_delta.a',
      'head.token_adapter.trainable_tokens_delta.a',
    ])
    expect([...withoutTies(own).keys()]).toEqual(['embedding.token_adapter.trainable_tokens_delta.a'])
    expect(() => attachTokens('emb', { tree, adapterName: 'a', state, tokens: [2] })).toThrow(/there is no such module/)
  })

  it('does not disturb an adapter of another kind on the same table', async () => {
    const peft = getPeftModel(
      llama(),
      new LoraConfig({ r: 2, targetModules: ['embed_tokens'], initLoraWeights: false }),
    )
    const alone = await logits(peft)
    peft.addAdapter('tokens', new TrainableTokensConfig({ tokenIndices: TOKENS, initWeights: false }))
    expect(await logits(peft)).toEqual(alone)
    peft.setAdapter(['default', 'tokens'])
    const [together, merged] = [await logits(peft), await logits(await peft.mergeAndUnload())]
    expect(together).not.toEqual(alone)
    together.forEach((value, i) => {
      expect(value).toBeCloseTo(merged[i], 5)
    })
  })
})
