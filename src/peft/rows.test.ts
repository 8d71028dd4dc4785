/** @file Batches whose rows have adapters of their own: each row computes what its adapter computes alone. */
import { describe, expect, it } from 'vitest'
import { generate } from '../generation/index.ts'
import { Graph } from '../graph/index.ts'
import { compile } from '../models/function.ts'
import { tensorData } from '../runtime/index.ts'
import { type AnyPeftConfig, getPeftModel, IA3Config, LNTuningConfig, PeftModel, PromptTuningConfig } from './index.ts'
import {
  addDrawn,
  batch,
  CountingEngine,
  expectClose,
  logitsOf,
  lora,
  perturb,
  rowOf,
  tinyBert,
  tinyLlama,
} from './testing/life.ts'

const ROWS = ['two', '__base__', 'one', 'two']

/** Each row of the mixed batch against the adapter's own run. */
async function expectRows(peft: PeftModel, rows = ROWS) {
  const mixed = await logitsOf(peft, { ...batch, adapter_indices: peft.adapterIndices(rows) })
  for (const [row, name] of rows.entries()) {
    if (name !== '__base__') peft.setAdapter(name)
    const alone = await (name === '__base__' ? peft.disableAdapter(() => logitsOf(peft)) : logitsOf(peft))
    expectClose(rowOf(mixed, row), rowOf(alone, row))
  }
}

const two = (one: AnyPeftConfig, other: AnyPeftConfig) => {
  const peft = new PeftModel(tinyBert())
  addDrawn(peft, 'one', one, 1)
  addDrawn(peft, 'two', other, 2)
  return peft
}

const TABLES = ['word_embeddings', 'position_embeddings', 'query']
const scaled = { targetModules: ['query', 'output.dense'], feedforwardModules: ['output.dense'] }

describe('rows of one batch', () => {
  it.each<[string, AnyPeftConfig, AnyPeftConfig]>([
    ['LoRA', lora(), lora()],
    ['LoRA of different ranks and scales', lora({ r: 2 }), lora({ r: 5, loraAlpha: 1, useRslora: true })],
    [
      'LoRA in different layers',
      lora({ targetModules: ['query'] }),
      lora({ targetModules: ['key', 'intermediate.dense'] }),
    ],
    ['LoRA with biases', lora({ loraBias: true }), lora()],
    ['LoRA on embeddings', lora({ targetModules: TABLES }), lora({ targetModules: TABLES, r: 3 })],
    [
      'LoRA on layers without a sequence',
      lora({ targetModules: ['pooler.dense'] }),
      lora({ targetModules: ['all-linear'][0] }),
    ],
    ['DoRA', lora({ useDora: true }), lora()],
    [
      'DoRA on embeddings',
      lora({ targetModules: ['word_embeddings'], useDora: true }),
      lora({ targetModules: TABLES }),
    ],
    ['weights that adapters took something out of', lora({ initLoraWeights: 'olora' }), lora()],
    ['(IA)3', new IA3Config(scaled), new IA3Config(scaled)],
    ['heads of their own', lora({ modulesToSave: ['classifier'] }), lora({ modulesToSave: ['classifier'] })],
    [
      'normalisations',
      new LNTuningConfig({ targetModules: ['LayerNorm'] }),
      new LNTuningConfig({ targetModules: ['LayerNorm'] }),
    ],
    ['different methods', lora(), new IA3Config(scaled)],
  ])('of %s compute what each adapter computes alone', async (_, one, other) => {
    await expectRows(two(one, other))
  })

  it('are computed in one product for all adapters: as many nodes for twenty as for two', () => {
    const products = (count: number) => {
      const peft = new PeftModel(tinyBert())
      for (let i = 0; i < count; i++) peft.addAdapter(`a${i}`, lora())
      const graph = new Graph()
      const input_ids = graph.input('input_ids', 'int64', ['batch', 'sequence'])
      const adapter_indices = graph.input('adapter_indices', 'int64', ['batch'])
      graph.trace(() => peft.forward({ input_ids, adapter_indices }))
      return graph.nodes.filter(({ op }) => op === 'MatMul' || op === 'Linear').length
    }
    expect(products(20)).toBe(products(2))
  })

  it('follow a changed scale, and count only what a call names', async () => {
    const peft = two(lora(), lora())
    peft.setScale('two', 0.5)
    await expectRows(peft)
    const { names, indices } = peft.adapterRows(['two', '__base__', 'two'])
    expect(names).toEqual(['two'])
    expect([...indices.data]).toEqual([1n, 0n, 1n])
  })

  it('are an input that the model declares', () => {
    const peft = two(lora(), lora())
    expect(peft.inputSpecs().adapter_indices).toEqual({ dtype: 'int64', shape: ['batch'], optional: true })
    expect([...peft.adapterIndices(ROWS).data]).toEqual([2n, 0n, 1n, 2n])
  })

  it('refuse names that are not known, numbers that are none, and as many as do not fit', async () => {
    const peft = two(lora(), lora())
    expect(() => peft.adapterIndices(['tow'])).toThrow(/row 0 names "tow".*Did you mean "two"/)
    expect(() => peft.adapterIndices(['__bse__'])).toThrow(/Did you mean "__base__"/)
    await using run = await compile(peft, (m, inputs) => ({ y: m.forward(inputs).logits! }), {
      inputs: peft.inputSpecs(),
    })
    await expect(run({ ...batch, adapter_indices: peft.adapterIndices(['one']) })).rejects.toThrow(/batch/)
    await expect(run({ ...batch, adapter_indices: tensorData('int64', [0, 1, 2, 3]) })).rejects.toThrow(/ONNX Runtime/)
  })

  it('refuse adapters that change what enters the model', async () => {
    const peft = getPeftModel(tinyBert(), new PromptTuningConfig({ numVirtualTokens: 2, taskType: 'SEQ_CLS' }))
    await expect(logitsOf(peft, { ...batch, adapter_indices: tensorData('int64', [0, 1, 0, 1]) })).rejects.toThrow(
      /cannot differ from row to row/,
    )
  })
})

describe('generate with adapterNames', () => {
  const prompts = [[5, 9, 2, 30], [11, 3], [7], [8, 8, 8]]
  const options = { eosTokenId: null, maxNewTokens: 8 }
  const decoder = () => {
    const peft = new PeftModel(tinyLlama())
    const config = lora({ targetModules: ['q_proj', 'v_proj', 'down_proj', 'embed_tokens'] })
    for (const [i, name] of ['one', 'two', 'three'].entries()) addDrawn(peft, name, config, i + 1)
    return peft
  }

  it('continues each prompt as its adapter alone does, and compiles once for other adapters', async () => {
    await using engine = new CountingEngine()
    const peft = decoder()
    const alone = async (name: string, prompt: readonly number[]) => {
      if (name === '__base__') return (await peft.disableAdapter(() => generate(peft, prompt, options))).newTokens[0]
      peft.setAdapter(name)
      return (await generate(peft, prompt, options)).newTokens[0]
    }
    for (const names of [ROWS, ['three', 'one', '__base__', 'three']]) {
      const { newTokens } = await generate(peft, prompts, { ...options, engine, adapterNames: names })
      for (const [row, name] of names.entries()) expect(newTokens[row]).toEqual(await alone(name, prompts[row]))
    }
    expect(engine.compilations).toBe(1)
  })

  it('refuses names for other numbers of prompts, unknown ones, and models without adapters', async () => {
    const peft = decoder()
    await expect(generate(peft, prompts, { adapterNames: ['one'] })).rejects.toThrow(/got 1 names for 4 prompts/)
    await expect(generate(peft, [5], { adapterNames: ['four'] })).rejects.toThrow(/no such adapter/)
    await expect(generate(tinyLlama(), [5], { adapterNames: ['one'] })).rejects.toThrow(/without adapters/)
  })

  it('does not care which adapters are active', async () => {
    const peft = decoder()
    perturb(peft, 'one', 9)
    const run = () => generate(peft, prompts, { ...options, adapterNames: ROWS })
    const first = await run()
    peft.setAdapter(['two', 'three'])
    expect(await run()).toEqual(first)
  })
})
