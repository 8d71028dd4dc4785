/** @file LoRA's inits and further options: what they leave unchanged, what they save, what they refuse. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../../../test/temporary.ts'
import '../../../generation/index.ts'
import { crossEntropy, linear, matmul, relu, type Tensor } from '../../../graph/index.ts'
import { compile } from '../../../models/function.ts'
import { AutoConfig, AutoModelForCausalLM, type PreTrainedModel } from '../../../models/index.ts'
import { Conv1D, Embedding, Linear, Module, normalInit, Parameter } from '../../../nn/index.ts'
import { floats, type TensorData, tensorData } from '../../../runtime/index.ts'
import { AdamW, trainableParameters, valueAndGrad } from '../../../training/index.ts'
import { getPeftConfig, getPeftModel, LoraConfig, type LoraConfigOptions, PeftModel } from '../../index.ts'
import { throughInt8, throughNF4 } from './init/quantization.ts'

class Net extends Module {
  hidden = new Linear(8, 12)
  turned = new Conv1D(6, 12)
  out = new Linear(6, 3)
  forward(x: Tensor) {
    return this.out.forward(relu(this.turned.forward(relu(this.hidden.forward(x)))))
  }
}

const net = () => {
  const module = new Net()
  module.initialize(1)
  return module
}

const batch = {
  x: tensorData(
    'float32',
    Float32Array.from({ length: 32 }, (_, i) => Math.sin(i * 1.7)),
    [4, 8],
  ),
  y: tensorData('int64', [0, 1, 2, 1]),
}

async function outputs(module: Module): Promise<Float32Array> {
  await using run = await compile(module, (m, { x }) => ({ y: (m as Net).forward(x) }))
  return floats((await run({ x: batch.x })).y)
}

async function train(peft: PeftModel<Net>): Promise<void> {
  await using step = await valueAndGrad(peft as unknown as Net, (m, { x, y }) => crossEntropy(m.forward(x), y))
  const optimizer = new AdamW(trainableParameters(peft), { lr: 0.05 })
  for (let i = 0; i < 5; i++) optimizer.step((await step(batch)).grads)
}

function expectClose(got: ArrayLike<number>, expected: ArrayLike<number>, digits = 4): void {
  expect(got.length).toBe(expected.length)
  for (let i = 0; i < expected.length; i++) expect(got[i]).toBeCloseTo(expected[i], digits)
}

const TARGETS = ['hidden', 'turned']
const lora = (options: LoraConfigOptions) => new LoraConfig({ r: 2, loraAlpha: 6, targetModules: TARGETS, ...options })

/** LLaMA with its head tied to its embedding. */
function llama(): PreTrainedModel {
  const model = AutoModelForCausalLM.fromConfig(
    AutoConfig.fromJSON({
      model_type: 'llama',
      vocab_size: 20,
      hidden_size: 8,
      intermediate_size: 16,
      num_hidden_layers: 2,
      num_attention_heads: 2,
      initializer_range: 0.3,
      tie_word_embeddings: true,
    }),
  )
  model.initialize(2)
  return model
}

const tokens: Record<string, TensorData> = { input_ids: tensorData('int64', [3, 7, 1, 7, 2, 9], [2, 3]) }

async function logits(model: Module, inputs = tokens): Promise<Float32Array> {
  const forward = model as unknown as PreTrainedModel
  await using run = await compile(model, (_, symbolic) => ({
    logits: forward.forward(symbolic).logits as Tensor,
  }))
  return floats((await run(inputs)).logits)
}

async function trainLlama(peft: PeftModel<PreTrainedModel>): Promise<void> {
  await using step = await valueAndGrad(peft as Module, (_, inputs) => peft.forward(inputs).loss as Tensor)
  const optimizer = new AdamW(trainableParameters(peft), { lr: 0.05 })
  for (let i = 0; i < 3; i++) optimizer.step((await step({ ...tokens, labels: tokens.input_ids })).grads)
}

describe('initLoraWeights', () => {
  const inits = ['orthogonal', 'pissa', 'pissa_niter_4', 'olora', 'mica'] as const

  it.each(inits)('%s changes nothing at first, trains, merges, and leaves the base alone', async init => {
    const base = net()
    const before = [...base.namedParameters()].map(([name, { data }]) => [name, data.slice()])
    const peft = getPeftModel(base, lora({ initLoraWeights: init }))
    const answers = await outputs(base)
    expectClose(await outputs(peft), answers)
    await train(peft)
    const trained = await outputs(peft)
    expect(trained).not.toEqual(answers)
    expectClose(await outputs(await peft.mergeAndUnload()), trained)
    expect(await peft.disableAdapter(() => outputs(peft))).toEqual(answers)
    expect([...base.namedParameters()].map(([name, { data }]) => [name, data])).toEqual(before)
  })

  it.each(inits)('%s computes the same after it was saved and loaded, under another name too', async init => {
    const peft = getPeftModel(net(), lora({ initLoraWeights: init }))
    await train(peft)
    const folder = await temporaryFolder()
    await peft.savePretrained(folder)
    const loaded = await PeftModel.fromPretrained(net(), folder, { adapterName: 'another' })
    expectClose(await outputs(loaded), await outputs(peft))
  })

  it.each(['pissa', 'pissa_niter_4', 'olora'] as const)('%s works with DoRA', async init => {
    const base = net()
    const peft = getPeftModel(base, lora({ initLoraWeights: init, useDora: true }))
    expectClose(await outputs(peft), await outputs(base))
    await train(peft)
    expectClose(await outputs(await peft.mergeAndUnload()), await outputs(peft))
  })

  it.each([
    { initLoraWeights: 'pissa', rankPattern: { turned: 1 } },
    { initLoraWeights: 'olora', useRslora: true, alphaPattern: { hidden: 3 } },
  ] as const)('becomes plain LoRA on the base as it is: %o', async options => {
    const peft = getPeftModel(net(), lora(options))
    await train(peft)
    const folder = await temporaryFolder()
    await peft.savePretrained(folder, { convertToPlainLora: true })
    const plain = await PeftModel.fromPretrained(net(), folder)
    expect(plain.configOf('default')).toMatchObject({ r: 4, initLoraWeights: true })
    expectClose(await outputs(plain), await outputs(peft))
  })

  it('becomes plain LoRA by the adapter that was saved before training, as in PEFT', async () => {
    const peft = getPeftModel(net(), lora({ initLoraWeights: 'pissa' }))
    const [initial, folder] = [await temporaryFolder(), await temporaryFolder()]
    await peft.savePretrained(initial)
    await train(peft)
    await peft.savePretrained(folder, { pathInitialModelForWeightConversion: initial })
    expectClose(await outputs(await PeftModel.fromPretrained(net(), folder)), await outputs(peft))
    const other = getPeftModel(net(), lora({ r: 3 }))
    await expect(other.savePretrained(folder, { pathInitialModelForWeightConversion: initial })).rejects.toThrow(
      /has 16 values in ".*lora_A.weight", expected 24/,
    )
  })

  it('mica freezes B', () => {
    const peft = getPeftModel(net(), lora({ initLoraWeights: 'mica' }))
    const trained = [...peft.namedParameters()].filter(([, p]) => p.requiresGrad).map(([name]) => name)
    expect(trained).toHaveLength(2)
    expect(trained.every(name => name.includes('lora_A'))).toBe(true)
  })

  it('mica works on embeddings', async () => {
    const base = llama()
    const peft = getPeftModel(base, new LoraConfig({ r: 2, targetModules: ['embed_tokens'], initLoraWeights: 'mica' }))
    expectClose(await logits(peft), await logits(base))
  })

  it.each([4, 8] as const)('loftq of %d bits comes nearer to the weight than few bits alone', async loftqBits => {
    const base = net()
    const error = async (options: LoraConfigOptions) => {
      const peft = getPeftModel(base, lora({ initLoraWeights: 'loftq', ...options }))
      const merged = await peft.mergeAndUnload()
      const weights = (n: Net) => [...n.hidden.weight.data, ...n.turned.weight.data]
      const original = weights(base)
      return Math.sqrt(weights(merged).reduce((sum, value, i) => sum + (value - original[i]) ** 2, 0))
    }
    const [one, five] = [
      await error({ loftqConfig: { loftqBits } }),
      await error({ loftqConfig: { loftqBits, loftqIter: 5 } }),
    ]
    const { data } = base.hidden.weight
    const rough = loftqBits === 4 ? throughNF4(data) : throughInt8(data, 8)
    const alone = Math.sqrt(rough.reduce((sum, value, i) => sum + (value - data[i]) ** 2, 0))
    expect(one).toBeLessThan(alone)
    expect(five).toBeLessThanOrEqual(one * 1.1)
  })

  it('loftq computes, trains, merges and loads with the weight of few bits', async () => {
    const base = net()
    const peft = getPeftModel(base, lora({ initLoraWeights: 'loftq', loftqConfig: { loftqBits: 4 } }))
    await train(peft)
    const trained = await outputs(peft)
    expectClose(await outputs(await peft.mergeAndUnload()), trained)
    const folder = await temporaryFolder()
    await peft.savePretrained(folder)
    expect(JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8')).loftq_config).toEqual({
      loftq_bits: 4,
      loftq_iter: 1,
    })
    expectClose(await outputs(await PeftModel.fromPretrained(net(), folder)), trained)
    expect(await peft.disableAdapter(() => outputs(peft))).toEqual(await outputs(base))
    peft.addAdapter('second', lora({ initLoraWeights: 'loftq' }))
    peft.setAdapter(['default', 'second'])
    await expect(outputs(peft)).rejects.toThrow(/each replace the weight by one of few bits/)
    await expect(peft.savePretrained(folder, { convertToPlainLora: true })).rejects.toThrow(/weight of few bits/)
  })

  it.each([
    [{ initLoraWeights: 'pisa' }, /initLoraWeights "pisa" is not implemented\. Did you mean "pissa"/],
    [{ initLoraWeights: 'orthogonal', r: 3 }, /needs even ranks, got 3/],
    [{ initLoraWeights: 'mica', useDora: true }, /"mica" does not work with useDora/],
    [{ loraBias: true, useDora: true }, /loraBias does not work with useDora/],
    [{ initLoraWeights: 'loftq', loftqConfig: { loftqBits: 3 } }, /loftqBits must be 4 or 8, got 3/],
    [{ initLoraWeights: 'loftq', loftqConfig: { bits: 4 } }, /loftqConfig has no option "bits"/],
    [{ loftqConfig: { loftqBits: 4 } }, /read with initLoraWeights "loftq" only/],
    [{ layerReplication: [[2, 2]] }, /ranges \[start, end\).*got \[2,2\]/],
    [{ targetParameters: ['w'], useDora: true }, /targetParameters does not work with useDora/],
    [{ targetParameters: ['w'], initLoraWeights: 'olora' }, /targetParameters works with initLoraWeights/],
  ])('refuses %o', (options, message) => {
    expect(() => new LoraConfig(options as LoraConfigOptions)).toThrow(message)
  })

  it.each(['pissa', 'olora', 'mica', 'loftq'] as const)('%s refuses a rank that the weight does not have', init => {
    expect(() => getPeftModel(net(), lora({ r: 10, initLoraWeights: init }))).toThrow(/a rank of at most 8 on "hidden"/)
  })
})

describe('values of few bits', () => {
  it('are exact for the values that NF4 and int8 have', () => {
    expect(throughNF4(Float32Array.of(-2, 0, 2))).toEqual(Float32Array.of(-2, 0, 2))
    expect(throughInt8(Float32Array.of(127, -3, 64, 0), 4)).toEqual(Float32Array.of(127, -3, 64, 0))
    expect(throughInt8(Float32Array.of(127, 2.5, 3.5, 0), 4)).toEqual(Float32Array.of(127, 2, 4, 0))
  })

  it('are the same when they are taken again, and never far away', () => {
    fc.assert(
      fc.property(fc.array(fc.float({ min: -9, max: 9, noNaN: true }), { minLength: 1, maxLength: 130 }), list => {
        const data = Float32Array.from(list)
        const once = throughNF4(data)
        expectClose(throughNF4(once), once)
        const largest = Math.max(...data.map(Math.abs))
        for (const [i, value] of once.entries()) expect(Math.abs(value - data[i])).toBeLessThan(0.16 * largest + 1e-6)
      }),
    )
  })
})

/** Two experts, weighted alike. */
class Experts extends Module {
  up_proj = new Parameter([2, 5, 4], { init: normalInit(1) })
  down_proj = new Parameter([2, 4, 5], { init: normalInit(1) })
  forward(x: Tensor): Tensor {
    return matmul(relu(matmul(x, this.up_proj, { transB: true })), this.down_proj, { transB: true })
  }
}

class TurnedExperts extends Experts {
  readonly isTransposed = true
  override up_proj = new Parameter([2, 4, 5], { init: normalInit(1) })
  override down_proj = new Parameter([2, 5, 4], { init: normalInit(1) })
  override forward(x: Tensor): Tensor {
    return matmul(relu(matmul(x, this.up_proj)), this.down_proj)
  }
}

class Mixture extends Module {
  experts: Experts
  gate = new (class extends Module {
    table = new Parameter([4, 4], { init: normalInit(1) })
    forward(x: Tensor): Tensor {
      return linear(x, this.table)
    }
  })()
  constructor(experts: Experts) {
    super()
    this.experts = experts
  }
  forward(x: Tensor): Tensor {
    return this.gate.forward(this.experts.forward(x))
  }
}

const mixture = (experts = new Experts()) => {
  const module = new Mixture(experts)
  module.initialize(4)
  return module
}

const states = tensorData(
  'float32',
  Float32Array.from({ length: 12 }, (_, i) => Math.cos(i)),
  [1, 3, 4],
)

async function mixed(module: Module): Promise<Float32Array> {
  await using run = await compile(module, (m, { x }) => ({ y: (m as Mixture).forward(x) }), {
    inputs: { x: { dtype: 'float32', shape: [1, 3, 4] } },
  })
  return floats((await run({ x: states })).y)
}

describe('targetParameters', () => {
  const parameters = (options: LoraConfigOptions = {}) =>
    new LoraConfig({
      r: 2,
      targetModules: [],
      targetParameters: ['experts.down_proj', 'experts.up_proj', 'gate.table'],
      ...options,
    })

  it('names what it saves by how layers lie in each other, in the order of declaration', () => {
    const peft = getPeftModel(mixture(), parameters())
    const shapes = [...peft.stateDict()].map(([key, { shape }]) => [key.replace('base_model.model.', ''), [...shape]])
    expect(Object.fromEntries(shapes)).toEqual({
      'experts.base_layer.lora_A.weight': [4, 4],
      'experts.base_layer.lora_B.weight': [5, 4],
      'experts.lora_A.weight': [4, 5],
      'experts.lora_B.weight': [4, 4],
      'gate.lora_A.weight': [2, 4],
      'gate.lora_B.weight': [4, 2],
    })
  })

  it.each([
    ['[experts, out, in]', () => new Experts()],
    ['[experts, in, out]', () => new TurnedExperts()],
  ])('changes nothing at first, and computes what the merged module computes, for %s', async (_, experts) => {
    const base = mixture(experts())
    const answers = await mixed(base)
    expectClose(await mixed(getPeftModel(base, parameters())), answers)
    const peft = getPeftModel(base, parameters({ initLoraWeights: false }))
    const changed = await mixed(peft)
    expect(changed).not.toEqual(answers)
    expectClose(await mixed(await peft.mergeAndUnload()), changed)
    expect(await peft.disableAdapter(() => mixed(peft))).toEqual(answers)
    peft.setScale('default', 0)
    expectClose(await mixed(peft), answers)
  })

  it('has ranks and alphas for single parameters', () => {
    const peft = getPeftModel(mixture(), parameters({ rankPattern: { up_proj: 3 } }))
    expect(peft.stateDict().get('base_model.model.experts.base_layer.lora_A.weight')!.shape).toEqual([6, 4])
    expect(peft.stateDict().get('base_model.model.experts.lora_A.weight')!.shape).toEqual([4, 5])
  })

  it('takes several adapters on the same parameters, and removes them', async () => {
    const base = mixture()
    const peft = getPeftModel(base, parameters({ initLoraWeights: false }))
    const first = await mixed(peft)
    peft.addAdapter('second', parameters({ r: 1, initLoraWeights: false }))
    peft.setAdapter(['default', 'second'])
    const both = await mixed(peft)
    expectClose(await mixed(await peft.mergeAndUnload()), both)
    peft.deleteAdapter('second')
    expectClose(await mixed(peft), first)
    peft.deleteAdapter('default')
    expectClose(await mixed(peft), await mixed(base))
  })

  it('refuses what files could not tell apart, and names that match nothing', () => {
    const peft = getPeftModel(mixture(), parameters())
    expect(() => peft.addAdapter('b', parameters({ targetParameters: ['up_proj'] }))).toThrow(
      /another adapter adapts up_proj, down_proj of "experts", this one up_proj/,
    )
    expect(() => getPeftModel(mixture(), parameters({ targetParameters: ['up_prj'] }))).toThrow(
      /no parameter is called "up_prj"\. Did you mean "up_proj"/,
    )
    const both = new LoraConfig({ targetModules: ['hidden'], targetParameters: ['hidden.weight'] })
    expect(() => getPeftModel(net(), both)).toThrow(/names "hidden.weight", and targetModules its module/)
    const bias = new LoraConfig({ targetModules: [], targetParameters: ['hidden.bias'] })
    expect(() => getPeftModel(net(), bias)).toThrow(/"hidden.bias" has shape \[12\]; expected two axes/)
  })
})

describe('trainableTokenIndices', () => {
  const options = { r: 2, targetModules: ['q_proj'] }

  it('trains rows of the embedding and of the head that is tied to it, and saves them once', async () => {
    const base = llama()
    const peft = getPeftModel(base, new LoraConfig({ ...options, trainableTokenIndices: [7, 3] }))
    expectClose(await logits(peft), await logits(base))
    expect([...peft.stateDict().keys()].filter(key => key.includes('token'))).toEqual([
      'base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta',
    ])
    await trainLlama(peft)
    const trained = await logits(peft)
    const merged = await peft.mergeAndUnload()
    expectClose(await logits(merged), trained)
    expect(merged.getOutputEmbeddings()!.ownParameters()[0][1]).toBe(merged.getInputEmbeddings().ownParameters()[0][1])
    const folder = await temporaryFolder()
    await peft.savePretrained(folder)
    expectClose(await logits(await PeftModel.fromPretrained(base, folder)), trained)
  })

  it('takes tables by name, and tied ones with the same tokens once', () => {
    const named = (trainableTokenIndices: Record<string, number[]>, more: LoraConfigOptions = {}) =>
      getPeftModel(llama(), new LoraConfig({ ...options, trainableTokenIndices, ...more }))
    const keys = [
      ...named({ embed_tokens: [1], lm_head: [1] })
        .stateDict()
        .keys(),
    ]
    expect(keys.filter(key => key.includes('token_adapter'))).toHaveLength(1)
    expect(() => named({ embed_tokens: [1], lm_head: [2] })).toThrow(/must train the same tokens, got \[2\] and \[1\]/)
    expect(() => named({ embed_token: [1] })).toThrow(/no module is called "embed_token"\. Did you mean "embed_tokens"/)
    expect(() => named({ embed_tokens: [1] }, { modulesToSave: ['embed_tokens'] })).toThrow(/trains as a whole/)
  })
})

describe('layerReplication', () => {
  const config = (
    layerReplication: [number, number][] | null = [
      [0, 2],
      [1, 2],
    ],
  ) => new LoraConfig({ r: 2, targetModules: ['q_proj'], layerReplication, initLoraWeights: false })

  it('has adapters of its own in each copy, and the base’s layers with the adapter off', async () => {
    const base = llama()
    const peft = getPeftModel(base, config())
    expect(peft.targetedModules()).toEqual([0, 1, 2].map(i => `model.layers.${i}.self_attn.q_proj`))
    expect(await peft.disableAdapter(() => logits(peft))).toEqual(await logits(base))
    expect(await logits(peft)).not.toEqual(await logits(base))
    const { all, trainable } = peft.getNbTrainableParameters()
    expect(all - trainable).toBe(base.parameters().reduce((sum, { size }) => sum + size, 0))
  })

  it('generates with as many caches as there are layers', async () => {
    const peft = getPeftModel(llama(), config())
    const prompt = [3, 7, 1]
    const { sequences } = await peft.generate([prompt], { maxNewTokens: 3, doSample: false, eosTokenId: null })
    const expected = [...prompt]
    for (let i = 0; i < 3; i++) {
      const input_ids = tensorData('int64', expected, [1, expected.length])
      const last = (await logits(peft, { input_ids })).slice(-20)
      expected.push(last.indexOf(Math.max(...last)))
    }
    expect([...sequences[0]].slice(-3)).toEqual(expected.slice(-3))
  })

  it('gives the layers back once its last adapter goes', async () => {
    const base = llama()
    const peft = getPeftModel(base, config())
    peft.addAdapter('second', config())
    expect(() => peft.addAdapter('third', config(null))).toThrow(/every adapter on it needs that layerReplication/)
    peft.deleteAdapter('default')
    expect(peft.targetedModules()).toHaveLength(3)
    peft.deleteAdapter('second')
    expect(await logits(peft)).toEqual(await logits(base))
    peft.addAdapter('plain', config(null))
    expect(peft.targetedModules()).toHaveLength(2)
    expect(() => peft.addAdapter('late', config())).toThrow(/must come with the first adapter/)
  })

  it('is taken out by unload', async () => {
    const base = llama()
    expect(await logits(await getPeftModel(base, config()).unload())).toEqual(await logits(base))
  })

  it('refuses ranges beyond the layers, and models without layers', () => {
    expect(() => getPeftModel(llama(), config([[0, 3]]))).toThrow(/goes beyond the 2 layers/)
    const own = new LoraConfig({ targetModules: ['hidden'], layerReplication: [[0, 1]] })
    expect(() => getPeftModel(net(), own)).toThrow(/needs a model with a list of layers/)
  })
})

describe('ensureWeightTying', () => {
  const tied = (options: LoraConfigOptions) =>
    new LoraConfig({ r: 2, loraAlpha: 4, ensureWeightTying: true, taskType: 'CAUSAL_LM', ...options })

  it.each([['embed_tokens'], ['lm_head']])('does to the head what it does to the embedding, for %s', async target => {
    const base = llama()
    const peft = getPeftModel(base, tied({ targetModules: [target, 'q_proj'], initLoraWeights: false }))
    expect(peft.targetedModules()).toContain('model.embed_tokens')
    await trainLlama(peft)
    const trained = await logits(peft)
    const merged = await peft.mergeAndUnload()
    expectClose(await logits(merged), trained)
    expect(merged.getOutputEmbeddings()!.ownParameters()[0][1]).toBe(merged.getInputEmbeddings().ownParameters()[0][1])
    const state = peft.stateDict()
    const embedding = state.get('base_model.model.model.embed_tokens.lora_embedding_B')!
    const head = state.get('base_model.model.lm_head.lora_A.weight')!
    expect(head.shape).toEqual([2, 8])
    expect((await head.read())[1]).toBe(embedding.data[2])
    const folder = await temporaryFolder()
    await peft.savePretrained(folder)
    expectClose(await logits(await PeftModel.fromPretrained(base, folder)), trained)
  })

  it('trains one copy where the embedding is saved as a whole', async () => {
    const base = llama()
    const peft = getPeftModel(base, tied({ targetModules: ['q_proj'], modulesToSave: ['embed_tokens'] }))
    await trainLlama(peft)
    const state = peft.stateDict()
    expect(state.get('base_model.model.lm_head.weight')).toBe(state.get('base_model.model.model.embed_tokens.weight'))
    const folder = await temporaryFolder()
    await peft.savePretrained(folder)
    expectClose(await logits(await PeftModel.fromPretrained(base, folder)), await logits(peft))
    expectClose(await logits(await peft.mergeAndUnload()), await logits(peft))
  })

  it('refuses models without tied weights, and DoRA on them', () => {
    const untied = new (class extends Module {
      table = new Embedding(4, 3)
      out = new Linear(3, 4)
      forward(ids: Tensor) {
        return this.out.forward(this.table.forward(ids))
      }
    })()
    expect(() => getPeftModel(untied, tied({ targetModules: ['table'], taskType: null }))).toThrow(
      /no layer of this model shares its weight/,
    )
    expect(() => getPeftModel(llama(), tied({ targetModules: ['embed_tokens'], useDora: true }))).toThrow(
      /cannot keep an embedding and its head tied/,
    )
  })
})

describe('the number of parameters in closed form', () => {
  it.each<[string, () => PeftModel<Module>]>([
    ['DoRA', () => getPeftModel(net(), lora({ useDora: true }))],
    ['B with a bias', () => getPeftModel(net(), lora({ loraBias: true }))],
    ['MiCA', () => getPeftModel(net(), lora({ initLoraWeights: 'mica' }))],
    [
      'experts',
      () =>
        getPeftModel(mixture(), new LoraConfig({ r: 2, targetModules: [], targetParameters: ['up_proj', 'table'] })),
    ],
    [
      'tokens',
      () => getPeftModel(llama(), new LoraConfig({ r: 2, targetModules: ['q_proj'], trainableTokenIndices: [1, 2] })),
    ],
  ])('is right for %s', (_, create) => {
    const peft = create()
    const { method, config, model, targets } = peft.adapter('default')
    const modules = new Map(targets.map(path => [path, model.base.getSubmodule(path)]))
    expect(method.about.count(config, modules, model)).toBe(peft.getNbTrainableParameters().trainable)
  })
})

describe('LoraConfig in files', () => {
  it('keeps options of layers, tokens and parameters', () => {
    const config = new LoraConfig({
      layerReplication: [[0, 2]],
      targetParameters: ['w'],
      trainableTokenIndices: { embed_tokens: [1] },
      ensureWeightTying: true,
    })
    const again = getPeftConfig(JSON.parse(config.toJSONString()))
    expect(again).toEqual(config)
  })
})
