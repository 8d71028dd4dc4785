/** @file What PEFT 0.21 gets wrong, numbered as in the survey of it; each test shows that it is right here. */
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../test/temporary.ts'
import { crossEntropy, relu, type Tensor } from '../graph/index.ts'
import { compile } from '../models/function.ts'
import {
  AutoConfig,
  AutoModelForCausalLM,
  AutoModelForSequenceClassification,
  type PreTrainedModel,
} from '../models/index.ts'
import { Conv1d, Conv2d, Conv3d, Linear, Module } from '../nn/index.ts'
import { floats, type TensorData, tensorData } from '../runtime/index.ts'
import { AdamW, trainableParameters, valueAndGrad } from '../training/index.ts'
import { SafetensorsFile, saveFile, type TensorEntry } from '../weights/index.ts'
import { getPeftModel, LoraConfig, TrainableTokensConfig } from './index.ts'
import { expectClose, logitsOf, lora, tinyBert } from './testing/life.ts'

class Net extends Module {
  hidden = new Linear(6, 8)
  out = new Linear(8, 3)
  forward(x: Tensor) {
    return this.out.forward(relu(this.hidden.forward(x)))
  }
}

class Single<M extends Module> extends Module {
  layer: M
  constructor(layer: M) {
    super()
    this.layer = layer
  }
  forward(x: Tensor): Tensor {
    return this.layer.forward(x) as Tensor
  }
}

const initialized = <M extends Module>(module: M): M => {
  module.initialize(1)
  return module
}

const wave = (shape: number[]) =>
  tensorData(
    'float32',
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i * 1.7)),
    shape,
  )

async function output(module: Module, x: TensorData): Promise<Float32Array> {
  await using run = await compile(module, (m, inputs) => ({ y: (m as Net).forward(inputs.x) }))
  return floats((await run({ x })).y)
}

const largestDifference = (a: Float32Array, b: Float32Array) =>
  a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0)

function llama(): PreTrainedModel {
  const model = AutoModelForCausalLM.fromConfig(
    AutoConfig.fromJSON({
      model_type: 'llama',
      vocab_size: 20,
      hidden_size: 8,
      intermediate_size: 16,
      num_hidden_layers: 2,
      num_attention_heads: 2,
    }),
  )
  return initialized(model)
}

describe('PEFT defect 2: a model with replicated layers is merged into one that computes something else', () => {
  it('is refused here, with the way out', async () => {
    const config = new LoraConfig({
      r: 2,
      targetModules: ['q_proj'],
      layerReplication: [
        [0, 2],
        [0, 2],
      ],
    })
    const peft = getPeftModel(llama(), config)
    await expect(peft.mergeAndUnload()).rejects.toThrow(/layerReplication cannot be merged.*Keep the adapter beside/)
    await expect(peft.mergeAdapter()).rejects.toThrow(/layerReplication cannot be merged/)
  })
})

describe('PEFT defect 4: LoRA on convolutions ignores dilation and the kind of padding', () => {
  const cases: [string, () => Module, number[]][] = [
    ['dilation', () => new Conv2d(2, 4, 3, { dilation: 2 }), [1, 2, 7, 7]],
    ['dilation with stride and padding', () => new Conv1d(2, 4, 3, { dilation: 2, stride: 2, padding: 3 }), [1, 2, 9]],
    ['circular padding', () => new Conv2d(2, 4, 3, { padding: 1, paddingMode: 'circular' }), [2, 2, 5, 5]],
    ['reflected padding', () => new Conv1d(2, 4, 3, { padding: 2, paddingMode: 'reflect' }), [2, 2, 6]],
    ['replicated padding', () => new Conv3d(1, 2, 2, { padding: 1, paddingMode: 'replicate' }), [1, 1, 3, 3, 3]],
    ['"same" padding', () => new Conv2d(2, 4, [2, 3], { padding: 'same' }), [1, 2, 5, 5]],
  ]
  it.each(cases)('%s: forward and merged agree, and the adapter works', async (_, layer, shape) => {
    for (const useDora of [false, true]) {
      const base = initialized(new Single(layer()))
      const config = new LoraConfig({ r: 2, targetModules: ['layer'], initLoraWeights: false, useDora })
      const peft = getPeftModel(base, config)
      if (useDora) await peft.stateDict().get('base_model.model.layer.lora_magnitude_vector')!.load()
      const y = await output(peft, wave(shape))
      expect(largestDifference(await output(base, wave(shape)), y)).toBeGreaterThan(1e-2)
      expect(largestDifference(await output(await peft.mergeAndUnload(), wave(shape)), y)).toBeLessThan(1e-5)
    }
  })
})

describe('PEFT defect 5: trained tokens of a dense layer drop its bias', () => {
  it('keeps the bias: nothing changes at first', async () => {
    const base = initialized(new Single(new Linear(4, 6)))
    const peft = getPeftModel(base, new TrainableTokensConfig({ targetModules: ['layer'], tokenIndices: [1, 4] }))
    expect(await output(peft, wave([3, 4]))).toEqual(await output(base, wave([3, 4])))
  })

  it('keeps it in LoRA’s trainableTokenIndices too', async () => {
    const base = initialized(new Net())
    const peft = getPeftModel(
      base,
      new LoraConfig({ r: 2, targetModules: ['hidden'], trainableTokenIndices: { out: [0, 2] } }),
    )
    expect(largestDifference(await output(peft, wave([3, 6])), await output(base, wave([3, 6])))).toBeLessThan(1e-6)
  })
})

describe('PEFT defect 11: the base is changed, mistyped targets are ignored, several adapters need a detour', () => {
  const config = new LoraConfig({ r: 2, targetModules: ['hidden'], initLoraWeights: false })

  it('leaves the base’s tree and values alone, also while an adapter trains', async () => {
    const base = initialized(new Net())
    const [modules, values] = [[...base.namedModules()].length, base.parameters().map(({ data }) => data.slice())]
    for (const initLoraWeights of [true, 'pissa', 'olora'] as const) {
      const peft = getPeftModel(base, new LoraConfig({ r: 2, targetModules: ['hidden'], initLoraWeights, bias: 'all' }))
      await using step = await valueAndGrad(peft as unknown as Net, (m, { x, y }) => crossEntropy(m.forward(x), y))
      const { grads } = await step({ x: wave([4, 6]), y: tensorData('int64', [0, 1, 2, 1]) })
      new AdamW(trainableParameters(peft), { lr: 0.1 }).step(grads)
    }
    expect([...base.namedModules()]).toHaveLength(modules)
    expect(base.parameters().map(({ data }) => data)).toEqual(values)
  })

  it('refuses a list of targets of which one matches nothing', () => {
    const typo = new LoraConfig({ targetModules: ['hidden', 'outt'] })
    expect(() => getPeftModel(new Net(), typo)).toThrow(/no module is called "outt"\. Did you mean "out"/)
  })

  it('activates several adapters by setAdapter itself, without making frozen ones train', async () => {
    const peft = getPeftModel(initialized(new Net()), config)
    peft.addAdapter('frozen', config.with({ inferenceMode: true, targetModules: ['out'] }))
    const one = await output(peft, wave([2, 6]))
    peft.setAdapter(['default', 'frozen'])
    expect(await output(peft, wave([2, 6]))).not.toEqual(one)
    for (const [name, { requiresGrad }] of peft.namedParameters())
      expect(requiresGrad, name).toBe(name.includes('.default.'))
  })
})

describe('PEFT defect 16: no report says how far merging changes the weights', () => {
  it('tells the largest change of each merged parameter', async () => {
    const base = initialized(new Net())
    const peft = getPeftModel(base, new LoraConfig({ r: 2, targetModules: ['hidden', 'out'], initLoraWeights: false }))
    let report: readonly { name: string; largestChange: number }[] = []
    const merged = await peft.mergeAndUnload({
      onReport: parts => {
        report = parts
      },
    })
    expect(report.map(({ name }) => name)).toEqual(['hidden.weight', 'out.weight'])
    for (const [i, layer] of (['hidden', 'out'] as const).entries()) {
      const change = largestDifference(merged[layer].weight.data, base[layer].weight.data)
      expect(report[i].largestChange).toBeCloseTo(change, 6)
    }
  })
})

describe('defect 1: sums of adapters with useRslora are scaled too much', () => {
  it.each(['cat', 'svd', 'linear'] as const)('%s of one adapter is that adapter, with and without it', async type => {
    for (const useRslora of [false, true]) {
      const peft = getPeftModel(tinyBert(), lora({ useRslora }))
      const expected = await logitsOf(peft)
      await peft.addWeightedAdapter(['default'], [1], 'same', { combinationType: type, svdRank: 4 })
      peft.setAdapter('same')
      expectClose(await logitsOf(peft), expected)
    }
  })
})

describe('defect 11: addWeightedAdapter onto a name that is taken returns silently', () => {
  it('says so, and changes nothing', async () => {
    const peft = getPeftModel(tinyBert(), lora())
    peft.addAdapter('taken', lora())
    const before = [...peft.stateDict('taken').values()].map(parameter => parameter.data.slice())
    await expect(peft.addWeightedAdapter(['default'], [1], 'taken')).rejects.toThrow(/already is an adapter "taken"/)
    expect([...peft.stateDict('taken').values()].map(parameter => parameter.data)).toEqual(before)
  })
})

describe('defect 7: merging and unmerging in half precision drifts', () => {
  it('weights that came as bfloat16 are to the bit what they were after ten times', async () => {
    const folder = await temporaryFolder()
    await tinyBert().savePretrained(folder)
    const path = join(folder, 'model.safetensors')
    const entries: TensorEntry[] = []
    {
      await using file = await SafetensorsFile.open(path)
      for (const name of file.names) {
        const values = await file.readFloat32(name)
        // The upper half of a float32 is a bfloat16.
        const bytes = Uint16Array.from(new Uint32Array(values.slice().buffer), bits => bits >>> 16)
        entries.push({ name, dtype: 'BF16', shape: file.info(name).shape, bytes })
      }
    }
    await saveFile(path, entries, { format: 'pt' })
    const model = await AutoModelForSequenceClassification.fromPretrained(folder, {
      conversionCacheDir: await temporaryFolder(),
      onWarning: () => {},
    })
    const peft = getPeftModel(model, lora())
    const before = await Promise.all([...peft.namedParameters()].map(async ([, p]) => [p, (await p.read()).slice()]))
    const expected = await logitsOf(peft)
    for (let i = 0; i < 10; i++) {
      await peft.mergeAdapter()
      expectClose(await logitsOf(peft), expected)
      peft.unmergeAdapter()
    }
    const after = await Promise.all([...peft.namedParameters()].map(async ([, p]) => [p, await p.read()]))
    for (const [i, [parameter, values]] of after.entries()) {
      expect(parameter).toBe(before[i][0])
      expect(values).toEqual(before[i][1])
    }
    expect(await logitsOf(peft)).toEqual(expected)
  })
})
