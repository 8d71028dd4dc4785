/** @file VeRA: shared matrices that Python draws too, files without them, and layers of different sizes. */
import { describe, expect, it } from 'vitest'
import { oracleCase, skippable } from '../../../../test/shared.ts'
import { temporaryFolder } from '../../../../test/temporary.ts'
import { crossEntropy, relu, type Tensor } from '../../../graph/index.ts'
import { compile } from '../../../models/function.ts'
import { AutoConfig, AutoModel, AutoModelForCausalLM } from '../../../models/index.ts'
import { Conv1D, Linear, Module, ParameterVector } from '../../../nn/index.ts'
import { floats, tensorData } from '../../../runtime/index.ts'
import { AdamW, valueAndGrad } from '../../../training/index.ts'
import { SafetensorsFile } from '../../../weights/index.ts'
import { getPeftModel, LoraConfig, PeftModel, VeraConfig, type VeraConfigOptions } from '../../index.ts'

class Net extends Module {
  hidden = new Linear(3, 4)
  middle = new Conv1D(5, 4)
  out = new Linear(5, 2)
  forward(x: Tensor) {
    return this.out.forward(relu(this.middle.forward(relu(this.hidden.forward(x)))))
  }
}

const net = () => {
  const module = new Net()
  module.initialize(1)
  return module
}

const OPTIONS: VeraConfigOptions = { r: 2, targetModules: ['hidden', 'out'], projectionPrngKey: 7 }

const batch = {
  x: tensorData(
    'float32',
    Float32Array.from({ length: 12 }, (_, i) => Math.sin(i * 1.7)),
    [4, 3],
  ),
  y: tensorData('int64', [0, 1, 1, 0]),
}

const outputs = async (module: Module) => {
  await using run = await compile(module, (m, { x }) => ({ y: (m as Net).forward(x) }))
  return floats((await run({ x: batch.x })).y).slice()
}

const projections = (peft: PeftModel, name = 'default') => {
  const own = new Map(peft.namedTensors())
  return [own.get(`base_model.vera_A.${name}`)!, own.get(`base_model.vera_B.${name}`)!]
}

async function train(peft: PeftModel<Net>, steps = 4) {
  await using step = await valueAndGrad(peft as unknown as Net, (m, { x, y }) => crossEntropy(m.forward(x), y))
  const trained = [...peft.namedParameters()].filter(([, { requiresGrad }]) => requiresGrad)
  const optimizer = new AdamW(await ParameterVector.load(trained), { lr: 0.1 })
  const losses: number[] = []
  for (let i = 0; i < steps; i++) {
    const { value, grads } = await step(batch)
    losses.push(value)
    optimizer.step(grads)
  }
  return losses
}

describe('the shared matrices', () => {
  it('are those that PEFT draws from the same seed, to the bit', () => {
    class Two extends Module {
      hidden = new Linear(3, 4)
      out = new Linear(4, 2)
      forward(x: Tensor) {
        return this.out.forward(this.hidden.forward(x))
      }
    }
    const two = new Two()
    two.initialize(1)
    const [a, b] = projections(getPeftModel(two, new VeraConfig(OPTIONS)))
    // peft 0.21.2, torch 2.15: VeraConfig(r=2, projection_prng_key=7) on Linear(3, 4) and Linear(4, 2).
    expect([...a.data]).toEqual([
      0.08554241061210632, -0.7377785444259644, 0.38998743891716003, 0.3843011260032654, -0.654597818851471,
      -0.1835613250732422, -0.7174897789955139, 0.31778791546821594,
    ])
    expect([...b.data]).toEqual([
      -0.4665585160255432, 1.2168292999267578, 1.2295591831207275, 0.17644473910331726, -0.7384113073348999,
      -1.0173394680023193, -0.19021321833133698, -0.4874477684497833,
    ])
  })

  const folder = oracleCase('adapters', 'vera')
  const base = oracleCase('models', 'llama-causal')
  const missing = !(folder && base) && 'no copy of the oracle here'
  it.skipIf(missing)(skippable('oracle: are those in a file of Python’s, to the bit', missing), async () => {
    const model = await AutoModelForCausalLM.fromPretrained(base!, { onWarning: () => {} })
    const peft = getPeftModel(model, new VeraConfig({ r: 8, targetModules: ['q_proj', 'o_proj'] }))
    await using file = await SafetensorsFile.open(`${folder}/adapter_model.safetensors`)
    const [a, b] = projections(peft)
    expect(a.data).toEqual(await file.readFloat32('base_model.vera_A'))
    expect(b.data).toEqual(await file.readFloat32('base_model.vera_B'))
  })

  it('are large enough for every layer, and count neither as parameters nor as trained', () => {
    const peft = getPeftModel(net(), new VeraConfig({ ...OPTIONS, targetModules: ['hidden', 'middle', 'out'] }))
    expect(projections(peft).map(({ shape }) => shape)).toEqual([
      [2, 5],
      [5, 2],
    ])
    const base = net()
      .parameters()
      .reduce((sum, { size }) => sum + size, 0)
    expect(peft.getNbTrainableParameters()).toEqual({ trainable: 4 + 5 + 2 + 3 * 2, all: base + 17 })
  })

  it('belong to one adapter each and go with it', () => {
    const peft = getPeftModel(net(), new VeraConfig(OPTIONS))
    peft.addAdapter('other', new VeraConfig({ ...OPTIONS, projectionPrngKey: 8 }))
    expect(projections(peft, 'other')[0].data).not.toEqual(projections(peft)[0].data)
    peft.deleteAdapter('other')
    expect([...peft.namedTensors()].map(([name]) => name).filter(name => name.includes('vera_A'))).toEqual([
      'base_model.vera_A.default',
    ])
  })
})

describe('files of VeRA', () => {
  const keys = (peft: PeftModel) => [...peft.stateDict().keys()].filter(key => key.startsWith('base_model.vera'))

  it.each([true, false])('give back the adapter with saveProjection %s', async saveProjection => {
    const base = net()
    const peft = getPeftModel(base, new VeraConfig({ ...OPTIONS, saveProjection }))
    await train(peft)
    expect(keys(peft)).toEqual(saveProjection ? ['base_model.vera_A', 'base_model.vera_B'] : [])
    const folder = await temporaryFolder()
    await peft.savePretrained(folder)
    const warnings: string[] = []
    const back = await PeftModel.fromPretrained(net(), folder, { onWarning: text => warnings.push(text) })
    expect(warnings).toEqual([])
    expect(await outputs(back)).toEqual(await outputs(peft))
    expect(await outputs(back)).not.toEqual(await outputs(base))
  })

  it('with matrices of their own are read as they are, whatever the seed says', async () => {
    const peft = getPeftModel(net(), new VeraConfig(OPTIONS))
    await train(peft)
    const [a] = projections(peft)
    a.data = a.data.map(value => -value)
    const folder = await temporaryFolder()
    await peft.savePretrained(folder)
    const back = await PeftModel.fromPretrained(net(), folder)
    expect(projections(back)[0].data).toEqual(a.data)
    expect(await outputs(back)).toEqual(await outputs(peft))
  })
})

describe('VeRA', () => {
  it('changes nothing at first and lowers the loss without touching the matrices', async () => {
    const base = net()
    const peft = getPeftModel(base, new VeraConfig({ ...OPTIONS, targetModules: ['hidden', 'middle', 'out'] }))
    expect(await outputs(peft)).toEqual(await outputs(base))
    const before = projections(peft).map(({ data }) => data.slice())
    const losses = await train(peft, 12)
    expect(losses.at(-1)).toBeLessThan(losses[0] - 0.02)
    expect(projections(peft).map(({ data }) => data)).toEqual(before)
  })

  it('merges into layers of different sizes and layouts', async () => {
    const peft = getPeftModel(
      net(),
      new VeraConfig({ ...OPTIONS, targetModules: ['hidden', 'middle', 'out'], initWeights: false }),
    )
    const [merged, expected] = [await outputs(await peft.mergeAndUnload()), await outputs(peft)]
    merged.forEach((value, i) => {
      expect(value).toBeCloseTo(expected[i], 5)
    })
    expect(expected).not.toEqual(await outputs(net()))
  })

  it('draws its vectors by seed where they are drawn', () => {
    const values = (seed: number) =>
      [
        ...getPeftModel(net(), new VeraConfig({ ...OPTIONS, initWeights: false }), { seed })
          .stateDict()
          .values(),
      ].map(({ data }) => data.slice())
    expect(values(1)).toEqual(values(1))
    expect(values(1)).not.toEqual(values(2))
  })

  it('trains the biases of its layers under vera_only, and saves them as PEFT does', () => {
    const peft = getPeftModel(net(), new VeraConfig({ ...OPTIONS, bias: 'vera_only' }))
    const trained = [...peft.namedParameters()].filter(([, { requiresGrad }]) => requiresGrad).map(([name]) => name)
    expect(new Set(trained)).toEqual(
      new Set(
        ['hidden', 'out'].flatMap(layer =>
          ['base_layer.bias', 'vera_lambda_b.default', 'vera_lambda_d.default'].map(
            name => `base_model.model.${layer}.${name}`,
          ),
        ),
      ),
    )
    expect([...peft.stateDict().keys()].sort()).toEqual([
      'base_model.model.hidden.base_layer.bias',
      'base_model.model.hidden.vera_lambda_b',
      'base_model.model.hidden.vera_lambda_d',
      'base_model.model.out.base_layer.bias',
      'base_model.model.out.vera_lambda_b',
      'base_model.model.out.vera_lambda_d',
      'base_model.vera_A',
      'base_model.vera_B',
    ])
  })

  it('stands beside another method on the same layer', async () => {
    const peft = getPeftModel(net(), new VeraConfig({ ...OPTIONS, initWeights: false }))
    const alone = await outputs(peft)
    peft.addAdapter('lora', new LoraConfig({ r: 2, targetModules: ['hidden', 'out'], initLoraWeights: false }))
    expect(await outputs(peft)).toEqual(alone)
    peft.setAdapter(['default', 'lora'])
    expect(await outputs(peft)).not.toEqual(alone)
  })

  it('has the parameters of the closed form: RoBERTa base, rank 1024, queries and values', () => {
    const config = AutoConfig.fromJSON({ model_type: 'roberta', vocab_size: 50_265, max_position_embeddings: 514 })
    const peft = getPeftModel(AutoModel.fromConfig(config), new VeraConfig({ r: 1024 }))
    // 24 layers x (1024 + 768): the 0.043 million of the paper
    expect(peft.getNbTrainableParameters().trainable).toBe(43_008)
  })

  it.each([
    [{ r: 0 }, /r must be a whole number above 0/],
    [{ projectionPrngKey: 0.5 }, /projectionPrngKey must be a whole number/],
    [{ veraDropout: 1 }, /veraDropout must lie in \[0, 1\)/],
    [{ bias: 'lora_only' as 'all' }, /bias must be none, all or vera_only/],
    [{ layersToTransform: 1, targetModules: 'x' }, /works with a list of targetModules/],
  ])('refuses %o', (options, message) => {
    expect(() => new VeraConfig(options)).toThrow(message)
  })

  it('refuses a layer that is not dense', () => {
    const model = AutoModelForCausalLM.fromConfig(
      AutoConfig.fromJSON({
        model_type: 'llama',
        vocab_size: 12,
        hidden_size: 8,
        intermediate_size: 8,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        num_key_value_heads: 2,
      } as never),
    )
    expect(() => getPeftModel(model, new VeraConfig({ r: 2, targetModules: ['embed_tokens'] }))).toThrow(
      /cannot work on "model.embed_tokens", a Embedding; it works on Linear, Conv1D/,
    )
  })
})
