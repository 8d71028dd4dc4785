/** @file BitFit: which biases train, how many they are, and that they come and go without a trace. */
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../../../test/temporary.ts'
import { crossEntropy, relu, type Tensor } from '../../../graph/index.ts'
import { compile } from '../../../models/function.ts'
import {
  AutoConfig,
  AutoModel,
  AutoModelForCausalLM,
  AutoModelForMaskedLM,
  AutoModelForSequenceClassification,
} from '../../../models/index.ts'
import { LayerNorm, Linear, Module, ParameterVector } from '../../../nn/index.ts'
import { floats, tensorData } from '../../../runtime/index.ts'
import { SGD, valueAndGrad } from '../../../training/index.ts'
import { type Biases, BitFitConfig, type BitFitConfigOptions, getPeftModel, PeftModel } from '../../index.ts'

const BERT_BASE = { model_type: 'bert', num_labels: 2 }
const BERT_LARGE = {
  ...BERT_BASE,
  hidden_size: 1024,
  intermediate_size: 4096,
  num_hidden_layers: 24,
  num_attention_heads: 16,
}
const TINY = {
  model_type: 'bert',
  vocab_size: 20,
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  max_position_embeddings: 16,
}

const trainable = (json: { model_type: string }, options: BitFitConfigOptions = {}) =>
  getPeftModel(AutoModel.fromConfig(AutoConfig.fromJSON(json)), new BitFitConfig(options)).getNbTrainableParameters()

class Net extends Module {
  hidden = new Linear(6, 8)
  norm = new LayerNorm(8)
  out = new Linear(8, 3)
  forward(x: Tensor) {
    return this.out.forward(relu(this.norm.forward(this.hidden.forward(x))))
  }
}

const net = (seed = 1) => {
  const module = new Net()
  module.initialize(seed)
  return module
}

const batch = {
  x: tensorData(
    'float32',
    Float32Array.from({ length: 24 }, (_, i) => Math.sin(i * 1.7)),
    [4, 6],
  ),
  y: tensorData('int64', [0, 1, 2, 1]),
}

const outputs = async (module: Module) => {
  await using run = await compile(module, (m, { x }) => ({ y: (m as Net).forward(x) }))
  return floats((await run({ x: batch.x })).y).slice()
}

async function train(peft: PeftModel<Net>, steps = 5) {
  await using step = await valueAndGrad(peft as unknown as Net, (m, { x, y }) => crossEntropy(m.forward(x), y))
  const optimizer = new SGD(await ParameterVector.load([...peft.namedParameters()].filter(([, p]) => p.requiresGrad)), {
    lr: 0.5,
  })
  const losses: number[] = []
  for (let i = 0; i < steps; i++) {
    const { value, grads } = await step(batch)
    losses.push(value)
    optimizer.step(grads)
  }
  return losses
}

const names = (biases: Biases, json: object = TINY) => {
  const model = AutoModel.fromConfig(AutoConfig.fromJSON(json as { model_type: string }))
  return getPeftModel(model, new BitFitConfig({ biases })).targetedModules()
}

describe('the number of biases', () => {
  it('is that of the closed form for BERT base: 0.09 % of the model', () => {
    // 12 layers x (4 x 768 + 3072 + 768 + 2 x 768), the normalisation of the embeddings, the pooler
    const { trainable: count, all } = trainable(BERT_BASE)
    expect(count).toBe(12 * 8448 + 768 + 768)
    expect(count).toBe(102_912)
    expect(((100 * count) / (all - count)).toFixed(2)).toBe('0.09')
  })

  it('is that of the closed form for BERT large: 0.08 % of the model', () => {
    const { trainable: count, all } = trainable(BERT_LARGE)
    expect(count).toBe(24 * 11_264 + 1024 + 1024)
    expect(count).toBe(272_384)
    expect(((100 * count) / (all - count)).toFixed(2)).toBe('0.08')
  })

  it('is about half of it for the biases of queries and of the first feed-forward layers', () => {
    expect(trainable(BERT_BASE, { biases: 'query_and_intermediate' }).trainable).toBe(12 * (768 + 3072))
    expect(trainable(BERT_LARGE, { biases: 'query_and_intermediate' }).trainable).toBe(24 * (1024 + 4096))
  })
})

describe('the choice of biases', () => {
  it('takes names, layers, and only some kinds of modules', () => {
    expect(names(['query', 'intermediate.dense'])).toEqual(names('query_and_intermediate'))
    expect(names(['LayerNorm'])).toHaveLength(5)
    const model = AutoModel.fromConfig(AutoConfig.fromJSON(TINY))
    const of = (options: BitFitConfigOptions) => getPeftModel(model, new BitFitConfig(options)).targetedModules()
    expect(of({ biases: ['query'], layersToTransform: [1] })).toEqual(['encoder.layer.1.attention.self.query'])
    expect(of({ targetModules: 'all-linear' }).some(path => path.includes('LayerNorm'))).toBe(false)
    expect(of({ excludeModules: ['LayerNorm'] })).toEqual(of({ targetModules: 'all-linear' }))
  })

  it('leaves a head alone that is trained as a whole', () => {
    const model = AutoModelForSequenceClassification.fromConfig(
      AutoConfig.fromJSON({ ...TINY, num_labels: 3 } as never),
    )
    const peft = getPeftModel(model, new BitFitConfig({ taskType: 'SEQ_CLS' }))
    const trained = [...peft.namedParameters()].filter(([, { requiresGrad }]) => requiresGrad).map(([name]) => name)
    expect(trained.filter(name => name.includes('classifier'))).toEqual([
      'base_model.model.classifier.modules_to_save.default.weight',
      'base_model.model.classifier.modules_to_save.default.bias',
    ])
  })

  it('says of a model without biases that there are none, and what to use', () => {
    const llama = AutoModelForCausalLM.fromConfig(
      AutoConfig.fromJSON({ ...TINY, model_type: 'llama', num_key_value_heads: 1 } as never),
    )
    expect(() => getPeftModel(llama, new BitFitConfig())).toThrow(
      /LlamaForCausalLM has none.*LORA or IA3, or LN_TUNING/,
    )
  })

  it('says which modules have a bias where a chosen one has none or is not there', () => {
    expect(() => names(['word_embeddings'])).toThrow(/have no bias, the first "embeddings.word_embeddings"/)
    expect(() => names(['quary'])).toThrow(/no module is called "quary".*query/)
    expect(() => names('query_and_intermediate', { ...TINY, model_type: 'gpt2', n_embd: 8 })).toThrow(
      /not known for the model type "gpt2"; name the modules/,
    )
    expect(() => new BitFitConfig({ biases: 'some' as 'all' })).toThrow(/biases must be "all"/)
    expect(() => new BitFitConfig({ biases: [] })).toThrow(/or a list of module names/)
  })
})

describe('BitFit', () => {
  it('changes nothing at first, then biases alone, and lowers the loss', async () => {
    const base = net()
    const peft = getPeftModel(base, new BitFitConfig())
    expect(await outputs(peft)).toEqual(await outputs(base))
    const before = base.parameters().map(({ data }) => data.slice())
    const losses = await train(peft)
    expect(losses.at(-1)).toBeLessThan(losses[0] - 0.05)
    expect(base.parameters().map(({ data }) => data)).toEqual(before)
    expect([...peft.stateDict()].map(([key, { size }]) => [key, size])).toEqual([
      ['base_model.model.hidden.bitfit_bias', 8],
      ['base_model.model.norm.bitfit_bias', 8],
      ['base_model.model.out.bitfit_bias', 3],
    ])
  })

  it('has the gradients of the base’s own biases', async () => {
    const base = net()
    const peft = getPeftModel(base, new BitFitConfig())
    await using own = await valueAndGrad(peft as unknown as Net, (m, { x, y }) => crossEntropy(m.forward(x), y))
    const parameters = [...base.namedParameters()].filter(([name]) => name.endsWith('bias'))
    await using direct = await valueAndGrad(base, (m, { x, y }) => crossEntropy(m.forward(x), y), { parameters })
    expect((await own(batch)).grads.data).toEqual((await direct(batch)).grads.data)
  })

  it('merges exactly and comes out again exactly', async () => {
    const peft = getPeftModel(net(), new BitFitConfig())
    await train(peft)
    const [expected, weights] = [await outputs(peft), peft.parameters().map(({ data }) => data.slice())]
    const merged = await peft.mergeAndUnload()
    expect(await outputs(merged)).toEqual(expected)
    expect(merged.hidden.bias!.data).toEqual(peft.stateDict().get('base_model.model.hidden.bitfit_bias')!.data)
    await peft.mergeAdapter()
    expect(await outputs(peft)).toEqual(expected)
    await peft.unmergeAdapter()
    expect(peft.parameters().map(({ data }) => data)).toEqual(weights)
    expect(await outputs(peft)).toEqual(expected)
  })

  it('merges a bias that a model holds under two names, and keeps it one', async () => {
    const model = AutoModelForMaskedLM.fromConfig(AutoConfig.fromJSON(TINY))
    model.initialize(1)
    const peft = getPeftModel(model, new BitFitConfig())
    const own = peft.stateDict().get('base_model.model.cls.predictions.decoder.bitfit_bias')!
    own.data = own.data.map(() => 0.25)
    const merged = await peft.mergeAndUnload()
    expect([...merged.namedParameters()].map(([name]) => name)).toEqual(
      [...model.namedParameters()].map(([name]) => name),
    )
    const biases = [...merged.parameterSlots()].filter(([name]) => /predictions\.(decoder\.)?bias$/.test(name))
    expect(biases.map(([, { data }]) => [...data])).toEqual(Array(2).fill(Array(20).fill(0.25)))
  })

  it('is saved and loaded with the same values and options', async () => {
    const peft = getPeftModel(net(), new BitFitConfig({ biases: ['hidden', 'out'] }))
    await train(peft)
    const folder = await temporaryFolder()
    await peft.savePretrained(folder)
    const back = await PeftModel.fromPretrained(net(), folder)
    expect(await outputs(back)).toEqual(await outputs(peft))
    expect(back.configOf('default').toJSON()).toEqual({
      ...peft.configOf('default').toJSON(),
      inference_mode: true,
    })
    expect(back.configOf('default').toJSON()).toMatchObject({ peft_type: 'BITFIT', biases: ['hidden', 'out'] })
  })

  it('adds up what several adapters changed', async () => {
    const base = net()
    const peft = getPeftModel(base, new BitFitConfig({ biases: ['out'] }))
    peft.addAdapter('other', new BitFitConfig({ biases: ['out'] }))
    const set = (name: string, values: number[]) => {
      const parameter = peft.stateDict(name).get('base_model.model.out.bitfit_bias')!
      parameter.data = base.out.bias!.data.map((value, i) => value + values[i])
    }
    set('default', [1, 0, 0])
    set('other', [0, 2, 0])
    peft.setAdapter(['default', 'other'])
    const [got, plain] = [await outputs(peft), await outputs(base)]
    got.forEach((value, i) => {
      expect(value - plain[i]).toBeCloseTo([1, 2, 0][i % 3], 5)
    })
  })
})
