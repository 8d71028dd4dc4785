/** @file AdaLoRA: the steps, ranks and files of PEFT, the penalty, the plan, and what a checkpoint holds. */
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../../../test/temporary.ts'
import { crossEntropy, type Tensor, tanh } from '../../../graph/index.ts'
import { compile } from '../../../models/function.ts'
import { AutoConfig, AutoModel, AutoModelForCausalLM } from '../../../models/index.ts'
import { Linear, Module, ParameterVector } from '../../../nn/index.ts'
import { floats, tensorData } from '../../../runtime/index.ts'
import { type Optimizer, SGD, Trainer, valueAndGrad } from '../../../training/index.ts'
import { AdaLoraConfig, type AdaLoraConfigOptions, type AdaLoraLayer, getPeftModel, PeftModel } from '../../index.ts'

class Net extends Module {
  hidden = new Linear(3, 4)
  out = new Linear(4, 2)
  forward(x: Tensor) {
    return this.out.forward(tanh(this.hidden.forward(x)))
  }
}

/** Numbers of the k-th tensor: the same formula fills the tensors in Python. */
const pattern = (size: number, k: number) =>
  Float32Array.from({ length: size }, (_, i) => (((i * 37 + k * 11) % 23) - 11) / 16)

const net = () => {
  const module = new Net()
  for (const [k, parameter] of module.parameters().entries()) parameter.data = pattern(parameter.size, k)
  return module
}

const OPTIONS: AdaLoraConfigOptions = {
  targetModules: ['hidden', 'out'],
  initR: 3,
  targetR: 1,
  tinit: 1,
  tfinal: 2,
  loraAlpha: 2,
  totalStep: 8,
}

const batch = { x: tensorData('float32', pattern(12, 2), [4, 3]), y: tensorData('int64', [0, 1, 1, 0]) }

const llama = () => {
  const config = AutoConfig.fromJSON({
    model_type: 'llama',
    vocab_size: 24,
    hidden_size: 16,
    intermediate_size: 16,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    num_key_value_heads: 2,
    max_position_embeddings: 32,
  })
  const model = AutoModelForCausalLM.fromConfig(config)
  model.initialize(1)
  return model
}

const LAYERS = ['hidden', 'out']
const NAMES = LAYERS.flatMap(layer => ['lora_A', 'lora_B', 'lora_E'].map(factor => `${layer}.${factor}`))

const adapted = (options: AdaLoraConfigOptions = OPTIONS) => {
  const peft = getPeftModel(net(), new AdaLoraConfig(options))
  const own = peft.stateDict()
  for (const [k, name] of NAMES.entries()) {
    const parameter = own.get(`base_model.model.${name}`)!
    parameter.data = pattern(parameter.size, k + 5)
  }
  return peft
}

const stepOf = (peft: PeftModel<Net>, training = true) =>
  valueAndGrad(peft as unknown as Net, (m, { x, y }) => crossEntropy(m.forward(x), y), { training })

const outputs = async (peft: Module) => {
  await using run = await compile(peft, (m, { x }) => ({ y: (m as Net).forward(x) }))
  return floats((await run({ x: batch.x })).y).slice()
}

const layerAt = (peft: PeftModel<Net>, path: string) => peft.model.getSubmodule(path) as AdaLoraLayer
const singularValues = (peft: PeftModel<Net>, path: string) => [...layerAt(peft, path).lora_E.get('default')!.data]

async function train(peft: PeftModel<Net>, optimizer: Optimizer, steps: number) {
  await using step = await stepOf(peft)
  const losses: number[] = []
  for (let i = 0; i < steps; i++) {
    const { value, grads } = await step(batch)
    losses.push(value)
    optimizer.step(grads)
  }
  return losses
}

const sgd = async (peft: PeftModel<Net>) =>
  new SGD(await ParameterVector.load([...peft.namedParameters()].filter(([, p]) => p.requiresGrad)), { lr: 0.1 })

/*
 * Made with peft 0.21.2 on torch 2.15, in float32: this net, these values and options, SGD with lr 0.1 on cross-entropy
 * plus the penalty as PEFT's forward adds it, and `update_and_allocate(i)` after step i = 1, 2, …. Each row holds the loss
 * before the step, and lora_E of both layers after it.
 */
const REFERENCE: [loss: number, hidden: number[], out: number[]][] = [
  [1.251032, [-0.186776, 0.686569, 0.125235], [0.436807, -0.125375, -0.686868]],
  [1.247239, [-0.186035, 0.685637, 0.12546], [0, -0.125762, 0]],
  [1.236394, [-0.185367, 0, 0], [0, -0.126124, 0]],
  [1.227984, [-0.184747, 0, 0], [0, -0.126514, 0]],
  [1.223697, [-0.184112, 0, 0], [0, -0.126914, 0]],
  [1.219305, [-0.183459, 0, 0], [0, -0.127326, 0]],
  [1.214801, [-0.182789, 0, 0], [0, -0.127749, 0]],
  [1.210177, [-0.182102, 0, 0], [0, -0.128184, 0]],
]

describe('AdaLoRA in training', () => {
  it('takes the steps of PEFT, penalty and rank allocation included, with no call of one’s own', async () => {
    const peft = adapted()
    const optimizer = await sgd(peft)
    await using step = await stepOf(peft)
    for (const [loss, hidden, out] of REFERENCE) {
      const { value, grads } = await step(batch)
      expect(value).toBeCloseTo(loss, 5)
      optimizer.step(grads)
      for (const [path, expected] of [['hidden', hidden] as const, ['out', out] as const]) {
        const got = singularValues(peft, path)
        expected.forEach((number, i) => {
          expect(got[i]).toBeCloseTo(number, 5)
        })
      }
    }
  })

  it('adds the penalty to the loss in evaluation too, and not while the adapter is off', async () => {
    const loss = async (peft: PeftModel<Net>) => {
      await using step = await stepOf(peft, false)
      return (await step(batch)).value
    }
    const [free, bound] = [adapted({ ...OPTIONS, orthRegWeight: 0 }), adapted()]
    expect((await loss(bound)) - (await loss(free))).toBeGreaterThan(0.3)
    const parameters = [...net().namedParameters()]
    const base = net()
    await using plain = await valueAndGrad(base, (m, { x, y }) => crossEntropy(m.forward(x), y))
    const expected = (await plain(batch)).value
    await bound.disableAdapter(async () => {
      const own = [...bound.model.namedParameters()].filter(([name]) => name.endsWith('base_layer.weight'))
      expect(own).toHaveLength(parameters.length / 2)
      await using off = await valueAndGrad(bound as unknown as Net, (m, { x, y }) => crossEntropy(m.forward(x), y), {
        parameters: own,
      })
      expect((await off(batch)).value).toBeCloseTo(expected, 6)
    })
  })

  it('keeps all directions where the budget leaves them', async () => {
    // PEFT asks torch for the zeroth smallest score here, which raises.
    const peft = adapted({ ...OPTIONS, tinit: 0, tfinal: 0, targetR: 3, totalStep: 4 })
    await train(peft, await sgd(peft), 4)
    expect(singularValues(peft, 'hidden')).not.toContain(0)
    expect([...peft.stateDict().values()].map(({ shape }) => shape[0])).toContain(3)
    expect(peft.configOf('default').toJSON().rank_pattern).toBeNull()
  })

  it('refuses the first step of a loop that does not tell its length, and names both ways out', async () => {
    const peft = adapted({ ...OPTIONS, totalStep: null })
    const optimizer = await sgd(peft)
    const before = optimizer.parameters.data.slice()
    await expect(train(peft, optimizer, 1)).rejects.toThrow(/totalStep in AdaLoraConfig.*optimizer.beforeTraining/)
    expect(optimizer.parameters.data).toEqual(before)
    optimizer.beforeTraining({ totalSteps: 8 })
    await train(peft, optimizer, 8)
    expect(singularValues(peft, 'hidden').filter(value => value !== 0)).toHaveLength(1)
    expect((peft.configOf('default') as unknown as AdaLoraConfig).totalStep).toBe(8)
  })

  it('refuses a training that is too short for its plan', async () => {
    const optimizer = await sgd(adapted())
    expect(() => optimizer.beforeTraining({ totalSteps: 5 })).toThrow(/totalStep is 8 and the training has 5 steps/)
    const open = await sgd(adapted({ ...OPTIONS, totalStep: null }))
    expect(() => open.beforeTraining({ totalSteps: 3 })).toThrow(/of 3 steps none is left to shrink ranks in/)
  })

  it('resumes from a checkpoint as if it had not stopped', async () => {
    const [whole, parted] = [adapted(), adapted()]
    const uninterrupted = await sgd(whole)
    await train(whole, uninterrupted, 6)
    const first = await sgd(parted)
    await train(parted, first, 3)
    const state = structuredClone(JSON.parse(JSON.stringify(first.state().hooks)))
    const values = first.parameters.data.slice()
    const resumed = adapted()
    const second = await sgd(resumed)
    second.parameters.data.set(values)
    second.loadState({ ...first.state(), hooks: state })
    await train(resumed, second, 3)
    expect(second.parameters.data).toEqual(uninterrupted.parameters.data)
  })

  it('refuses the checkpoint of another adapter', async () => {
    const [one, other] = [await sgd(adapted()), await sgd(adapted({ ...OPTIONS, initR: 4 }))]
    expect(() => one.hooks[0].loadState!(other.hooks[0].state!())).toThrow(/does not fit the adapter "default"/)
  })

  it('is told the length of the training by the Trainer', async () => {
    const model = llama()
    const peft = getPeftModel(model, new AdaLoraConfig({ initR: 4, targetR: 2, taskType: 'CAUSAL_LM' }))
    const features = Array.from({ length: 8 }, (_, row) => {
      const tokens = Array.from({ length: 6 }, (__, i) => 1 + ((row * 7 + i * 5) % 23))
      return { inputIds: tokens, attentionMask: tokens.map(() => 1), labels: tokens }
    })
    const trainer = new Trainer({
      model: peft,
      trainDataset: features,
      padTokenId: 0,
      args: { numTrainEpochs: 2, perDeviceTrainBatchSize: 2, learningRate: 1e-2 },
    })
    const { globalStep } = await trainer.train()
    const own = peft.configOf('default') as unknown as AdaLoraConfig
    expect(own.totalStep).toBe(globalStep)
    const ranks = [...peft.stateDict()].filter(([key]) => key.endsWith('lora_E')).map(([, { shape }]) => shape[0])
    expect(ranks.reduce((a, b) => a + b)).toBe(4)
  })
})

describe('AdaLoRA in files', () => {
  it('saves the directions that are left and their pattern, as PEFT does, and computes the same when it is loaded', async () => {
    const peft = adapted()
    await train(peft, await sgd(peft), 8)
    const folder = await temporaryFolder()
    await peft.savePretrained(folder)
    expect(Object.fromEntries([...peft.stateDict()].map(([key, { shape }]) => [key, shape]))).toEqual({
      'base_model.model.hidden.lora_A': [1, 3],
      'base_model.model.hidden.lora_B': [4, 1],
      'base_model.model.hidden.lora_E': [1, 1],
      'base_model.model.out.lora_A': [1, 4],
      'base_model.model.out.lora_B': [2, 1],
      'base_model.model.out.lora_E': [1, 1],
    })
    const json = peft.configOf('default').toJSON()
    expect(json.rank_pattern).toEqual({ 'hidden.lora_E': [true, false, false], 'out.lora_E': [false, true, false] })
    expect(json).toMatchObject({ deltaT: 1, total_step: 8 })
    const back = await PeftModel.fromPretrained(net(), folder, { isTrainable: true })
    const [a, b] = [await outputs(peft), await outputs(back)]
    a.forEach((value, i) => {
      expect(b[i]).toBeCloseTo(value, 6)
    })
    expect(back.configOf('default').toJSON().rank_pattern).toEqual(json.rank_pattern)
    const merged = await outputs(await back.mergeAndUnload())
    a.forEach((value, i) => {
      expect(merged[i]).toBeCloseTo(value, 5)
    })
  })

  it('loads a layer that no direction was left to, and trains the others', async () => {
    const rankPattern = { 'hidden.lora_E': [false, false, false], 'out.lora_E': [true, false, true] }
    const base = net()
    const peft = getPeftModel(base, new AdaLoraConfig({ ...OPTIONS, totalStep: 2, tfinal: 0, tinit: 0, rankPattern }))
    expect(layerAt(peft, 'hidden').rank('default')).toBe(0)
    expect(peft.stateDict().get('base_model.model.out.lora_A')!.shape).toEqual([2, 4])
    await train(peft, await sgd(peft), 2)
    expect((await peft.mergeAndUnload()).hidden.weight.data).toEqual(base.hidden.weight.data)
    expect(peft.configOf('default').toJSON().rank_pattern).toEqual(rankPattern)
  })

  it('keeps in the file what was given a value again after it was taken away', async () => {
    const peft = adapted()
    await train(peft, await sgd(peft), 8)
    const layer = layerAt(peft, 'hidden')
    layer.lora_E.get('default')!.data[2] = 0.5
    expect(peft.stateDict().get('base_model.model.hidden.lora_E')!.shape).toEqual([2, 1])
    expect(peft.configOf('default').toJSON().rank_pattern).toMatchObject({ 'hidden.lora_E': [true, false, true] })
  })
})

describe('AdaLoRA', () => {
  it('changes nothing at first and draws by seed', async () => {
    const peft = (seed: number) => getPeftModel(net(), new AdaLoraConfig({ ...OPTIONS }), { seed })
    expect(await outputs(peft(1))).toEqual(await outputs(net()))
    const values = (seed: number) => [...peft(seed).stateDict().values()].map(({ data }) => data.slice())
    expect(values(3)).toEqual(values(3))
    expect(values(3)).not.toEqual(values(4))
  })

  it('allots the ranks of two adapters each for itself', async () => {
    const peft = adapted()
    peft.addAdapter('other', new AdaLoraConfig({ ...OPTIONS, initLoraWeights: false }), { seed: 7 })
    peft.setAdapter('other')
    const first = await outputs(peft)
    await train(peft, await sgd(peft), 8)
    expect(singularValues(peft, 'hidden')).not.toContain(0)
    expect(
      [...layerAt(peft, 'hidden').lora_E.get('other')!.data]
        .concat([...layerAt(peft, 'out').lora_E.get('other')!.data])
        .filter(value => value !== 0),
    ).toHaveLength(2)
    expect(await outputs(peft)).not.toEqual(first)
    peft.setAdapter('default')
    expect(await outputs(peft)).toEqual(await outputs(adapted()))
  })

  it('trains single tokens too, and keeps them in its file', async () => {
    const options = { initR: 2, targetR: 1, totalStep: 4, trainableTokenIndices: [3, 5] }
    const peft = getPeftModel(llama(), new AdaLoraConfig(options))
    const rows = peft.stateDict().get('base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta')!
    expect(rows.shape).toEqual([2, 16])
    expect(rows.requiresGrad).toBe(true)
    rows.data = rows.data.map(() => 0.5)
    const folder = await temporaryFolder()
    await peft.savePretrained(folder)
    const back = await PeftModel.fromPretrained(llama(), folder)
    expect([...back.stateDict().keys()]).toEqual([...peft.stateDict().keys()])
    expect([...back.stateDict().values()].map(({ data }) => data)).toEqual(
      [...peft.stateDict().values()].map(({ data }) => data),
    )
  })

  it('has the parameters of the closed form: BERT base, queries and values, rank 12', () => {
    const config = AutoConfig.fromJSON({ model_type: 'bert', num_labels: 2 } as { model_type: string })
    const peft = getPeftModel(AutoModel.fromConfig(config), new AdaLoraConfig({ totalStep: 100 }))
    // 24 layers x 12 x (768 + 768 + 1)
    expect(peft.getNbTrainableParameters().trainable).toBe(442_656)
  })

  it.each([
    [{ r: 4 }, /r means nothing to AdaLoRA.*set initR/],
    [{ initR: 2, targetR: 4 }, /targetR 4 is above initR 2/],
    [{ totalStep: 10, tinit: 6, tfinal: 4 }, /none is left to shrink ranks in/],
    [{ beta1: 1 }, /beta1 must lie in \(0, 1\)/],
    [{ orthRegWeight: -1 }, /must not be negative/],
    [{ useDora: true }, /useDora is an option of LoRA/],
    [{ targetRank: 4 }, /has no option "targetRank"/],
  ])('refuses %o', (options, message) => {
    expect(() => new AdaLoraConfig(options)).toThrow(message)
  })
})
