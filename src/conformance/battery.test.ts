/** @file Every registered method through the battery, and what the battery finds in methods that are wrong. */
import { describe, expect, it } from 'vitest'
import { add, mul, type Tensor } from '../graph/index.ts'
import { Linear, normalInit, Parameter, ParameterDict, zerosInit } from '../nn/index.ts'
import {
  optionsFromJson,
  originalOf,
  PeftConfig,
  type PeftMethod,
  peftTypes,
  registerPeftMethod,
  type TargetOptions,
  TunerLayer,
  tunerAt,
  type WrapContext,
} from '../peft/index.ts'
import { checkConformance, SUBJECTS } from './index.ts'

describe.each(peftTypes())('%s', peftType => {
  it('passes the conformance battery', { timeout: 120_000 }, async () => {
    const { findings } = await checkConformance(peftType)
    expect(findings.filter(({ failure }) => failure !== undefined)).toEqual([])
  })
})

/** A method as a user would write it, outside the library: a learned vector is added to a layer's output. */
class ShiftConfig extends PeftConfig {
  readonly peftType: string
  declare targetModules: readonly string[] | string | null
  constructor(peftType: string, options: TargetOptions = {}) {
    super()
    this.peftType = peftType
    this.assign(options)
  }
  protected override defaults() {
    return { targetModules: null, modulesToSave: null }
  }
}

class ShiftLayer extends TunerLayer<Linear> {
  shift_b = new ParameterDict()
  add(name: string, values: Parameter) {
    this.shift_b.set(name, values)
  }
  override adapterNames() {
    return this.shift_b.keys()
  }
  override deleteAdapter(name: string) {
    this.shift_b.delete(name)
  }
  protected override adapt(names: readonly string[], x: Tensor): Tensor {
    return names.reduce((y, name) => add(y, this.shift_b.get(name)!), this.base_layer.forward(x))
  }
  override mergedParameters(names: readonly string[]): Record<string, Tensor> {
    return names.length
      ? { bias: names.reduce<Tensor>((sum, name) => add(sum, this.shift_b.get(name)!), add(this.original.bias!, 0)) }
      : {}
  }
}

type Broken = Partial<Omit<PeftMethod<ShiftConfig & TargetOptions>, 'about'>> & {
  about?: Partial<PeftMethod<ShiftConfig & TargetOptions>['about']>
}

const shift = (peftType: string, broken: Broken = {}): PeftMethod<ShiftConfig & TargetOptions> => ({
  peftType,
  layerKinds: ['Linear'],
  configFromJson: (json, label) =>
    new ShiftConfig(peftType, optionsFromJson(json, { targetModules: null, modulesToSave: null }, label)),
  defaultTargetModules: modelType => (modelType === 'bert' ? ['query', 'output.dense'] : undefined),
  wrap: ({ module, adapterName, state }: WrapContext<ShiftConfig & TargetOptions>) => {
    const original = originalOf(module)
    if (!(original instanceof Linear)) return undefined
    const layer = tunerAt(module, ShiftLayer) ?? new ShiftLayer(module as Linear, state)
    const shape = [original.outFeatures]
    layer.add(adapterName, Parameter.from(new Float32Array(original.outFeatures), shape))
    return layer
  },
  ...broken,
  about: {
    title: 'Shift',
    family: 'additive',
    formula: 'y = W x + b + s',
    paper: 'none',
    parameters: 'out a layer',
    count: (_, targets) => ([...targets.values()] as Linear[]).reduce((sum, { outFeatures }) => sum + outFeatures, 0),
    example: options => new ShiftConfig(peftType, options),
    recommended: { learningRate: 1e-2 },
    ...broken.about,
  },
  can: {
    merge: true,
    mixedBatch: 'each',
    weightedSum: false,
    convertToLora: false,
    noOpAtInit: true,
    several: true,
    ...broken.can,
  },
})

const perceptron = SUBJECTS.filter(({ name }) => name.includes('perceptron'))

/** The checks that a method fails. */
async function failures(peftType: string, broken?: Broken): Promise<string[]> {
  registerPeftMethod(shift(peftType, broken))
  const { findings } = await checkConformance(peftType, broken ? perceptron : SUBJECTS)
  return findings.filter(({ failure }) => failure !== undefined).map(({ check, failure }) => `${check}: ${failure}`)
}

describe('the battery', () => {
  it('passes a method that a user registers', async () => {
    expect(await failures('SHIFT')).toEqual([])
  })

  it('finds a closed form that is not the count', async () => {
    expect(await failures('SHIFT_MISCOUNTED', { about: { count: () => 5 } })).toEqual([
      expect.stringContaining('its closed form says 5'),
    ])
  })

  it('finds an adapter that changes the model although it says it does not', async () => {
    const found = await failures('SHIFT_NOT_SILENT', {
      wrap: ({ module, adapterName, state, random }: WrapContext<ShiftConfig & TargetOptions>) => {
        const layer = tunerAt(module, ShiftLayer) ?? new ShiftLayer(module as Linear, state)
        const shape = [(originalOf(module) as Linear).outFeatures]
        layer.add(adapterName, Parameter.from(normalInit(1)(random, shape), shape))
        return layer
      },
    })
    expect(found).toEqual([expect.stringContaining('the new adapter changes the outputs')])
  })

  it('finds a merge that computes something else', async () => {
    class WrongMerge extends ShiftLayer {
      override mergedParameters(names: readonly string[]): Record<string, Tensor> {
        return { bias: mul(super.mergedParameters(names).bias, 1.5) }
      }
    }
    const found = await failures('SHIFT_MISMERGED', {
      wrap: ({ module, adapterName, state, random }: WrapContext<ShiftConfig & TargetOptions>) => {
        const layer = tunerAt(module, WrongMerge) ?? new WrongMerge(module as Linear, state)
        const shape = [(originalOf(module) as Linear).outFeatures]
        layer.add(adapterName, Parameter.from(zerosInit(random, shape), shape))
        return layer
      },
    })
    expect(found).toEqual([
      expect.stringContaining('the merged model computes something else'),
      expect.stringContaining('merged in place it computes something else'),
    ])
  })

  it('finds values that do not come from the seed', async () => {
    let call = 0
    const found = await failures('SHIFT_UNSEEDED', {
      can: { ...shift('x').can, noOpAtInit: false },
      wrap: ({ module, adapterName, state }: WrapContext<ShiftConfig & TargetOptions>) => {
        const layer = tunerAt(module, ShiftLayer) ?? new ShiftLayer(module as Linear, state)
        const { outFeatures } = originalOf(module) as Linear
        layer.add(adapterName, Parameter.from(new Float32Array(outFeatures).fill(call++), [outFeatures]))
        return layer
      },
    })
    expect(found).toEqual([expect.stringContaining('has other values from the same seed')])
  })

  it('finds a method that refuses every model', async () => {
    expect(await failures('SHIFT_NOWHERE', { wrap: () => undefined })).toEqual([
      expect.stringContaining('it refuses every model'),
    ])
  })
})
