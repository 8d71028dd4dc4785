/** @file Tests of ladder side-tuning: nothing flows back through the model, and what the side network may see. */
import { describe, expect, it } from 'vitest'
import { gradients } from '../../../autodiff/index.ts'
import '../../../generation/index.ts'
import { Graph, reachableNodes, type Tensor } from '../../../graph/index.ts'
import { compile } from '../../../models/function.ts'
import {
  AutoConfig,
  AutoModelForCausalLM,
  AutoModelForSeq2SeqLM,
  AutoModelForSequenceClassification,
} from '../../../models/index.ts'
import type { Module, Parameter } from '../../../nn/index.ts'
import { floats, tensorData } from '../../../runtime/index.ts'
import { valueAndGrad } from '../../../training/index.ts'
import { Random } from '../../../util/random.ts'
import { type AnyPeftConfig, getPeftModel, LoraConfig, type PeftModel } from '../../index.ts'
import { LstConfig, type LstConfigOptions } from './index.ts'

const DIMENSIONS = {
  vocab_size: 32,
  hidden_size: 16,
  intermediate_size: 32,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  max_position_embeddings: 32,
  initializer_range: 0.2,
}

const model = (type: string, options: object = {}) => {
  const config = AutoConfig.fromJSON({ model_type: type, ...DIMENSIONS, ...options })
  const isCausal = ['llama', 'mistral', 'gpt2', 'qwen2'].includes(type)
  const made = (isCausal ? AutoModelForCausalLM : AutoModelForSequenceClassification).fromConfig(config)
  made.initialize(5)
  return made
}

const MODELS: [string, object][] = [
  ['bert', {}],
  ['roberta', { pad_token_id: 1 }],
  ['distilbert', { dim: 16, hidden_dim: 32, n_layers: 3, n_heads: 4 }],
  ['llama', { num_key_value_heads: 2 }],
  ['mistral', { num_key_value_heads: 2, sliding_window: 3 }],
  ['qwen2', { num_key_value_heads: 2 }],
  ['gpt2', { n_embd: 16, n_layer: 3, n_head: 4, n_positions: 32 }],
]

const ids = (rows: number, length: number) => {
  const random = new Random(rows * length)
  return tensorData(
    'int64',
    Array.from({ length: rows * length }, () => 2 + random.integer(29)),
    [rows, length],
  )
}

const batchFor = (base: { task: string }) => {
  const input_ids = ids(2, 7)
  const labels = base.task === 'CAUSAL_LM' ? input_ids : tensorData('int64', [0, 1])
  return { input_ids, attention_mask: tensorData('int64', Array(14).fill(1), [2, 7]), labels }
}

const outputs = async (module: Module, { labels: _, ...inputs }: Record<string, ReturnType<typeof ids>>) => {
  await using run = await compile(module, (m, given) => ({ y: (m as PeftModel).forward(given).logits! }))
  return floats((await run(inputs)).y).slice()
}

/** Moves the side network off its first values, so that it has an effect. */
function move(peft: PeftModel): void {
  for (const [name, parameter] of peft.namedParameters()) {
    if (!parameter.requiresGrad) continue
    const random = Random.forName(name, 0)
    parameter.data = parameter.data.map(value => value + 0.3 * random.normal())
  }
}

const adapted = (base: Module, options: LstConfigOptions = {}) =>
  getPeftModel(base, new LstConfig({ reductionFactor: 2, ...options })) as PeftModel

/** How many operators the backward pass has, and how many of them read weights of the model's layers. */
function backward(config: AnyPeftConfig): { operators: number; ofModel: number } {
  const peft = getPeftModel(model('bert'), config) as PeftModel
  const graph = new Graph()
  graph.training = true
  const trained = new Set(peft.parameters().filter(({ requiresGrad }) => requiresGrad))
  const tensors: Tensor[] = []
  for (const parameter of trained) graph.bind(parameter, () => track(graph, parameter, tensors))
  const inputs = {
    input_ids: graph.input('input_ids', 'int64', ['batch', 'sequence']),
    labels: graph.input('labels', 'int64', ['batch']),
  }
  const { loss } = graph.trace(() => peft.forward(inputs))
  const boundary = graph.nodes.length
  const found = gradients(loss!, tensors)
  const nodes = reachableNodes(found).filter(({ id }) => id >= boundary)
  const weights = new Set(
    [...peft.namedParameters()]
      .filter(([name, p]) => name.includes('encoder.layer') && !trained.has(p))
      .map(([, p]) => p),
  )
  const reads = nodes.filter(({ inputs: read }) =>
    read.some(({ node }) => node.op === 'Weight' && weights.has(node.attributes.weight as Parameter)),
  )
  return { operators: nodes.length, ofModel: reads.length }
}

function track(graph: Graph, parameter: Parameter, tensors: Tensor[]): Tensor {
  const tensor = graph.input(`p${tensors.length}`, 'float32', [...parameter.shape])
  tensors.push(tensor)
  return tensor
}

describe('LST', () => {
  it.each(MODELS)('leaves %s as it is at first, and gives every part a gradient later', async (type, options) => {
    const base = model(type, options)
    const batch = batchFor(base)
    const peft = adapted(base)
    const [own, expected] = [await outputs(peft, batch), await outputs(base, batch)]
    own.forEach((value, i) => {
      expect(value).toBeCloseTo(expected[i], 5)
    })
    move(peft)
    await using step = await valueAndGrad(peft, (m, inputs) => m.forward(inputs).loss!)
    const { grads } = await step(batch)
    for (const { name } of grads.parameters.slices) {
      // Softmax takes no notice of what is added to all scores: a bias of keys has no effect.
      if (name.endsWith('key.bias')) continue
      expect(
        grads.get(name).some(g => g !== 0),
        name,
      ).toBe(true)
    }
  })

  it('has no operator of the model’s layers in its backward pass; LoRA has', () => {
    const lst = backward(new LstConfig({ reductionFactor: 2 }))
    const lora = backward(new LoraConfig({ r: 2, targetModules: ['query', 'value'] }))
    expect(lst.operators).toBeGreaterThan(0)
    expect(lst.ofModel).toBe(0)
    expect(lora.ofModel).toBeGreaterThan(10)
  })

  it('generates with a cache what it computes without one', async () => {
    const base = model('llama', { num_key_value_heads: 2 })
    const peft = adapted(base)
    move(peft)
    const prompt = [3, 9, 4]
    const { sequences } = await peft.generate(prompt, { maxNewTokens: 6, eosTokenId: null } as never)
    const written = [...([sequences].flat(2) as number[])]
    const expected = [...prompt]
    for (let i = 0; i < 6; i++) {
      const input_ids = tensorData('int64', expected, [1, expected.length])
      const logits = await outputs(peft, { input_ids } as never)
      const last = logits.subarray(logits.length - 32)
      expected.push(last.indexOf(Math.max(...last)))
    }
    expect(written).toEqual(expected)
    const plain = await base.generate(prompt, { maxNewTokens: 6, eosTokenId: null } as never)
    expect(written).not.toEqual([...([plain.sequences].flat(2) as number[])])
  })

  it('does not look at padding', async () => {
    const peft = adapted(model('bert'))
    move(peft)
    const { input_ids } = { input_ids: ids(1, 5) }
    const alone = await outputs(peft, {
      input_ids,
      attention_mask: tensorData('int64', Array(5).fill(1), [1, 5]),
    } as never)
    const tokens = [...(input_ids.data as BigInt64Array)].map(Number)
    const padded = await outputs(peft, {
      input_ids: tensorData('int64', [...tokens, 0, 0, 0], [1, 8]),
      attention_mask: tensorData('int64', [1, 1, 1, 1, 1, 0, 0, 0], [1, 8]),
    } as never)
    padded.forEach((value, i) => {
      expect(value).toBeCloseTo(alone[i], 5)
    })
  })

  it('computes the model’s own layers once for rows of several adapters', async () => {
    const peft = adapted(model('bert'))
    peft.addAdapter('other', new LstConfig({ reductionFactor: 4 }))
    const graph = new Graph()
    const inputs = {
      input_ids: graph.input('input_ids', 'int64', ['batch', 'sequence']),
      adapter_indices: graph.input('adapter_indices', 'int64', ['batch']),
    }
    const { logits } = graph.trace(() => peft.forward(inputs))
    const wide = reachableNodes([logits!]).filter(({ op, outputs: [y] }) => op === 'Linear' && y.shape.at(-1) === 32)
    expect(wide.length).toBe(3)
  })

  it('replaces the last hidden state where asked for, and lets no other adapter beside it then', async () => {
    const base = model('bert')
    const batch = batchFor(base)
    const peft = adapted(base, { output: 'replace' })
    expect(await outputs(peft, batch)).not.toEqual(await outputs(base, batch))
    peft.addAdapter('other', new LstConfig({ reductionFactor: 2 }))
    peft.setAdapter(['default', 'other'])
    await expect(outputs(peft, batch)).rejects.toThrow(/replaces the model's last hidden state/)
  })

  it('leaves layers out', () => {
    const all = adapted(model('bert')).getNbTrainableParameters().trainable
    const two = adapted(model('bert'), { sideLayers: [0, 2] })
    expect(two.getNbTrainableParameters().trainable).toBeLessThan(all)
    expect(two.targetedModules()).toEqual(['bert.encoder.layer.0', 'bert.encoder.layer.2'])
  })

  it('refuses what it cannot do, with the way out', async () => {
    expect(() => adapted(model('bert'), { sideHeads: 3 })).toThrow(/width of 8 .* cannot be divided by sideHeads 3/)
    expect(() => adapted(model('bert'), { sideLayers: [7] })).toThrow(/sideLayers names 7.*layers 0 to 2/)
    const t5 = { d_model: 16, d_ff: 32, d_kv: 4, num_layers: 1, num_heads: 4, vocab_size: 32 }
    const seq2seq = AutoModelForSeq2SeqLM.fromConfig(AutoConfig.fromJSON({ model_type: 't5', ...t5 }))
    expect(() => adapted(seq2seq)).toThrow(/one row of layers.*Use another method/)
    const llama = adapted(model('llama', { num_key_value_heads: 2 }), { sideBlock: 'transformer' })
    await expect(llama.generate([1, 2], { maxNewTokens: 2 })).rejects.toThrow(/no keys in the cache.*feed_forward/)
    await expect(llama.mergeAndUnload()).rejects.toThrow(/cannot be merged/)
  })

  it.each([
    [{ reductionFactor: 0 }, /reductionFactor must be at least 1/],
    [{ sideBlock: 'mlp' }, /sideBlock must be/],
    [{ sideHeads: 0 }, /sideHeads must be a whole number/],
    [{ temperature: 0 }, /temperature must be above 0/],
    [{ output: 'sum' }, /output must be "add" or "replace"/],
    [{ dropout: 1 }, /dropout must lie in/],
  ])('LstConfig refuses %o', (options, message) => {
    expect(() => new LstConfig(options as LstConfigOptions)).toThrow(message)
  })
})
