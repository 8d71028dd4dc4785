/** @file LoRA's layers one by one, against PEFT: what they compute, their gradients, and the merged layer. */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { mul, sum, type Tensor } from '../../../graph/index.ts'
import { compile } from '../../../models/function.ts'
import { Conv1D, Conv1d, Conv2d, Conv3d, Embedding, Linear, Module } from '../../../nn/index.ts'
import { floats, type TensorData, tensorData } from '../../../runtime/index.ts'
import { valueAndGrad } from '../../../training/index.ts'
import { getPeftModel, LoraConfig, type LoraConfigOptions, type PeftModel } from '../../index.ts'

interface Reference {
  y: number[]
  shape: number[]
  grads: Record<string, number[]>
}

/*
 * Made with PEFT 0.21.2 and torch 2.15: r = 2, lora_alpha = 3; the i-th parameter in the order of names holds
 * round(sin(1.3 j + i) / 2, 4), the input round(sin(1.3 j + 7), 4), and the loss is the sum of the output times
 * round(sin(1.3 j + 50) / 2, 4).
 */
const references: Record<string, Reference> = JSON.parse(
  readFileSync(new URL('./testing/peft-layers.json', import.meta.url), 'utf8'),
)

class Net<M extends Module> extends Module {
  layer: M
  constructor(layer: M) {
    super()
    this.layer = layer
  }
  forward(x: Tensor): Tensor {
    return this.layer.forward(x) as Tensor
  }
}

const wave = (shape: readonly number[], phase: number, height = 0.5) =>
  Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) =>
    Number((height * Math.sin(1.3 * i + phase)).toFixed(4)),
  )
const input = (...shape: number[]) => tensorData('float32', wave(shape, 7, 1), shape)

function adapted(layer: Module, options: LoraConfigOptions = {}): PeftModel<Net<Module>> {
  const peft = getPeftModel(
    new Net(layer),
    new LoraConfig({ r: 2, loraAlpha: 3, targetModules: ['layer'], ...options }),
  )
  const parameters = [...peft.namedParameters()].sort(([a], [b]) => (a < b ? -1 : 1))
  for (const [i, [, parameter]] of parameters.entries()) parameter.data = wave(parameter.shape, i)
  return peft
}

async function output(module: Module, x: TensorData): Promise<TensorData> {
  await using run = await compile(module, (m, inputs) => ({ y: (m as Net<Module>).forward(inputs.x) }))
  return (await run({ x })).y
}

function expectClose(got: ArrayLike<number>, expected: ArrayLike<number>, label = ''): void {
  expect(got.length, label).toBe(expected.length)
  for (let i = 0; i < expected.length; i++) expect(got[i], `${label} ${i}`).toBeCloseTo(expected[i], 4)
}

const ids = tensorData('int64', [0, 3, 1, 4, 4, 2], [2, 3])

const cases: [name: string, layer: () => Module, x: TensorData, options?: LoraConfigOptions][] = [
  ['dora embedding', () => new Embedding(5, 3), ids, { useDora: true }],
  ['dora linear', () => new Linear(4, 3), input(2, 4), { useDora: true }],
  ['dora conv1D', () => new Conv1D(3, 4), input(2, 4), { useDora: true }],
  ['dora conv2d', () => new Conv2d(2, 3, 3, { stride: 2, padding: 1 }), input(1, 2, 4, 4), { useDora: true }],
  ['dora conv1d', () => new Conv1d(2, 3, 2), input(1, 2, 5), { useDora: true }],
  ['conv3d', () => new Conv3d(1, 2, 2, { bias: false }), input(1, 1, 2, 3, 2)],
  ['conv2d lora_bias', () => new Conv2d(2, 2, 1), input(1, 2, 2, 2), { loraBias: true }],
]

describe.each(cases)('%s', (name, layer, x, options) => {
  const reference = references[name]

  it('computes what PEFT computes', async () => {
    const y = await output(adapted(layer(), options), x)
    expect(y.dims).toEqual(reference.shape)
    expectClose(floats(y), reference.y)
  })

  it('has the gradients of PEFT', async () => {
    const peft = adapted(layer(), options)
    const weights = (y: Tensor) => y.graph.constant([...wave(reference.shape, 50)], 'float32', reference.shape)
    await using step = await valueAndGrad(
      peft as Module,
      (_, inputs) => {
        const y = (peft as unknown as Net<Module>).forward(inputs.x)
        return sum(mul(y, weights(y)))
      },
      { inputs: { x: { dtype: x.dtype, shape: x.dims } } },
    )
    const { grads } = await step({ x })
    for (const [key, expected] of Object.entries(reference.grads))
      expectClose(grads.get(`base_model.model.${key}`), expected, key)
    expect(grads.parameters.slices).toHaveLength(Object.keys(reference.grads).length)
  })

  it('computes the same once it is merged', async () => {
    const peft = adapted(layer(), options)
    expectClose(floats(await output(await peft.mergeAndUnload(), x)), reference.y)
  })
})

describe('DoRA', () => {
  it.each([
    ['Linear', () => new Linear(4, 3), input(2, 4)],
    ['Conv1D', () => new Conv1D(3, 4), input(2, 4)],
    ['Embedding', () => new Embedding(5, 3), ids],
    ['Conv2d', () => new Conv2d(2, 3, 3), input(1, 2, 4, 4)],
  ] as const)('changes nothing at first on a %s, and learns lengths from the base’s', async (_, layer, x) => {
    const net = new Net<Module>(layer())
    net.initialize(3)
    const peft = getPeftModel(net, new LoraConfig({ r: 2, targetModules: ['layer'], useDora: true }))
    expectClose(floats(await output(peft, x)), floats(await output(net, x)))
    const key = [...peft.stateDict().keys()].find(name => name.endsWith('lora_magnitude_vector'))
    expect(key).toBe('base_model.model.layer.lora_magnitude_vector')
  })

  it('begins at the lengths of the changed weight where A and B begin otherwise', async () => {
    const net = new Net(new Linear(4, 3))
    net.initialize(3)
    const options = { r: 2, targetModules: ['layer'], initLoraWeights: false, useDora: true }
    const [dora, lora] = [options, { ...options, useDora: false }].map(o => getPeftModel(net, new LoraConfig(o)))
    expectClose(floats(await output(dora, input(2, 4))), floats(await output(lora, input(2, 4))))
  })

  it('computes the base’s part anew from what dropout left, as PEFT does', async () => {
    const peft = adapted(new Linear(4, 3), { useDora: true, loraDropout: 0.5 })
    await using step = await valueAndGrad(peft as Module, (_, inputs) =>
      sum((peft as unknown as Net<Linear>).forward(inputs.x)),
    )
    const values = new Set<number>()
    for (let i = 0; i < 6; i++) values.add((await step({ x: input(2, 4) }, { seed: i })).value)
    expect(values.size).toBeGreaterThan(1)
  })

  it('adds up with other adapters in the same way when merged', async () => {
    const peft = adapted(new Linear(4, 3), { useDora: true })
    peft.addAdapter('plain', new LoraConfig({ r: 2, targetModules: ['layer'], initLoraWeights: false }))
    peft.addAdapter('second', new LoraConfig({ r: 2, targetModules: ['layer'], useDora: true }))
    for (const parameter of peft.stateDict('second').values()) parameter.data = wave(parameter.shape, 3)
    peft.setAdapter(['default', 'plain', 'second'])
    const y = floats(await output(peft, input(2, 4)))
    expectClose(floats(await output(await peft.mergeAndUnload(), input(2, 4))), y)
  })

  it('survives a weight with a row of zeros', async () => {
    const layer = new Linear(2, 2)
    layer.weight.data = Float32Array.of(0, 0, 1, 2)
    layer.bias!.data = new Float32Array(2)
    const peft = getPeftModel(new Net(layer), new LoraConfig({ r: 1, targetModules: ['layer'], useDora: true }))
    expectClose(floats(await output(peft, tensorData('float32', [1, 1], [1, 2]))), [0, 3])
  })
})

describe('convolutions', () => {
  it('refuses ranks that the groups do not divide, other inits, and merging of groups', async () => {
    const grouped = () => new Conv2d(2, 4, 1, { groups: 2 })
    expect(() => adapted(grouped(), { r: 3 })).toThrow(/rank 3 cannot be divided into the 2 groups of "layer"/)
    expect(() => adapted(grouped(), { useDora: true })).toThrow(/useDora does not work on "layer"/)
    expect(() => adapted(new Conv2d(2, 2, 1), { initLoraWeights: 'pissa' })).toThrow(/works on dense layers only/)
    await expect(adapted(grouped()).mergeAndUnload()).rejects.toThrow(/of 2 groups cannot be merged/)
  })

  it('computes groups as PEFT does: A sees all channels, B those of its group', async () => {
    const peft = adapted(new Conv2d(2, 4, 1, { groups: 2 }))
    // Made as the references above.
    expectClose(
      floats(await output(peft, input(1, 2, 2, 2))),
      [
        0.311022, 0.416273, -0.088306, -0.463493, 0.502142, 0.579982, 0.51399, 0.400841, 0.459893, 0.363222, 0.112104,
        0.074448, -0.280502, -0.998331, -0.757462, 0.089288,
      ],
    )
  })
})
