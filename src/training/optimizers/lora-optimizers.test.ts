/** @file Tests of LoRA+ and LoRA-FA against PEFT. */
import { describe, expect, it } from 'vitest'
import type { Tensor } from '../../graph/index.ts'
import { Conv2d, Embedding, Gradients, Linear, Module, type ParameterVector } from '../../nn/index.ts'
import { getPeftModel, LoraConfig, type PeftModel } from '../../peft/index.ts'
import { AdamW } from './adamw.ts'
import { createLoraFaOptimizer } from './lora-fa.ts'
import { createLoraPlusOptimizer } from './lora-plus.ts'
import type { Optimizer } from './optimizer.ts'
import { SGD } from './sgd.ts'

class Net extends Module {
  emb = new Embedding(5, 4)
  lin = new Linear(4, 3)
  head = new Linear(3, 2)
  forward(ids: Tensor) {
    return this.head.forward(this.lin.forward(this.emb.forward(ids)))
  }
}

/*
 * Made with PEFT 0.21.2 and torch 2.15, in float32 (PEFT's LoRA-FA uses bfloat16 where the machine has it): the same
 * net, r = 2, lora_alpha = 3; the i-th trained parameter in the order of names holds round(sin(1.3 j + i) / 2, 4), its
 * gradient in step s is round(sin(1.3 j + 10 + 7 s + i) / 10, 4). Values after three steps.
 */
const PLUS = {
  'emb.lora_embedding_A.default': [
    0.0059329, 0.4866513, 0.2523607, -0.3495125, -0.4432941, 0.1135095, 0.5035737, 0.1537117, -0.4192883, -0.3810234,
  ],
  'emb.lora_embedding_B.default': [
    0.426057, 0.3727596, -0.2271162, -0.4945313, -0.0355788, 0.4740191, 0.2913004, -0.3181797,
  ],
  'head.modules_to_save.default.bias': [0.4998774, -0.1983137],
  'head.modules_to_save.default.weight': [0.0411007, -0.4836914, -0.3106789, 0.3177838, 0.4829108, -0.0672397],
  'lin.lora_A.default.weight': [
    -0.4059709, -0.4204196, 0.1851688, 0.5191149, 0.0820978, -0.4660454, -0.3438493, 0.28315,
  ],
  'lin.lora_B.default.weight': [-0.5357258, 0.126617, 0.5798528, 0.1413972, -0.4614138, -0.4668733],
}
const FA = {
  'head.modules_to_save.default.bias': [0.0296003, 0.5060008],
  'head.modules_to_save.default.weight': [0.447426, 0.3721764, -0.2503192, -0.5078095, -0.0119591, 0.4940384],
  'lin.lora_A.default.weight': [0.4546, -0.0789, -0.4968, -0.1869, 0.3968, 0.3992, -0.1832, -0.4973],
  'lin.lora_B.default.weight': [0.0668769, -0.4730979, -0.3291569, 0.3141201, 0.4940344, -0.0665651],
}

const wave = (count: number, phase: number, height: number) =>
  Float32Array.from({ length: count }, (_, i) => Number((height * Math.sin(1.3 * i + phase)).toFixed(4)))

function model(targetModules: string[], options: object = {}): PeftModel<Net> {
  const peft = getPeftModel(
    new Net(),
    new LoraConfig({ r: 2, loraAlpha: 3, targetModules, modulesToSave: ['head'], ...options }),
  )
  peft.initialize()
  return peft
}

/** The trained parameters in the order of names. */
const trained = (peft: PeftModel<Net>) =>
  [...peft.namedParameters()].filter(([, p]) => p.requiresGrad).sort(([a], [b]) => (a < b ? -1 : 1))

function steps(optimizer: Optimizer, order: Map<object, number>): void {
  const vector: ParameterVector = optimizer.parameters
  for (let step = 0; step < 3; step++) {
    const data = new Float32Array(vector.size)
    for (const { parameter, offset, size } of vector.slices)
      data.set(wave(size, 10 + 7 * step + order.get(parameter)!, 0.1), offset)
    optimizer.step(new Gradients(vector, data))
  }
}

async function values(peft: PeftModel<Net>, make: (peft: PeftModel<Net>) => Optimizer | Promise<Optimizer>) {
  const parameters = trained(peft)
  const order = new Map(parameters.map(([, parameter], i) => [parameter, i]))
  for (const [, parameter] of parameters) parameter.data = wave(parameter.size, order.get(parameter)!, 0.5)
  steps(await make(peft), order)
  return Object.fromEntries(parameters.map(([name, { data }]) => [name.replace('base_model.model.', ''), data]))
}

function expectClose(got: Record<string, Float32Array>, expected: Record<string, number[]>): void {
  expect(Object.keys(got)).toEqual(Object.keys(expected))
  for (const [name, numbers] of Object.entries(expected)) {
    numbers.forEach((value, i) => {
      expect(got[name][i], name).toBeCloseTo(value, 5)
    })
  }
}

describe('createLoraPlusOptimizer', () => {
  it('takes the steps of PEFT: B and vectors faster, embeddings at a rate of their own', async () => {
    const options = { lr: 0.01, loraplusLrRatio: 4, loraplusLrEmbedding: 0.002, loraplusWeightDecay: 0.1 }
    const got = await values(model(['emb', 'lin']), peft => createLoraPlusOptimizer(peft, AdamW, options))
    expectClose(got, PLUS)
  })

  it('works with other optimizers and hands them their options', () => {
    const optimizer = createLoraPlusOptimizer(model(['lin']), SGD, { lr: 0.1, loraplusLrRatio: 2, momentum: 0.5 })
    expect(optimizer).toBeInstanceOf(SGD)
    expect(optimizer.momentum).toBe(0.5)
  })

  it.each([
    { lr: 0, loraplusLrRatio: 2 },
    { lr: 0.1, loraplusLrRatio: 0 },
  ])('refuses %o', options => {
    expect(() => createLoraPlusOptimizer(model(['lin']), SGD, options)).toThrow(/must be above 0, got 0/)
  })
})

describe('createLoraFaOptimizer', () => {
  it('takes the steps of PEFT: A stays, B by the projected gradient, the rest by Adam', async () => {
    const got = await values(model(['lin']), peft => createLoraFaOptimizer(peft, { lr: 0.01, weightDecay: 0.1 }))
    expectClose(got, FA)
  })

  it('freezes A alone', async () => {
    const peft = model(['lin'])
    await createLoraFaOptimizer(peft)
    expect(trained(peft).map(([name]) => name)).toEqual([
      'base_model.model.head.modules_to_save.default.bias',
      'base_model.model.head.modules_to_save.default.weight',
      'base_model.model.lin.lora_B.default.weight',
    ])
  })

  it('refuses a model without LoRA on dense layers, and grouped convolutions', async () => {
    await expect(createLoraFaOptimizer(model(['emb']))).rejects.toThrow(/no LoRA on dense layers/)
    class Grouped extends Module {
      conv = new Conv2d(2, 2, 1, { groups: 2 })
      forward(x: Tensor) {
        return this.conv.forward(x)
      }
    }
    const grouped = getPeftModel(new Grouped(), new LoraConfig({ r: 2, targetModules: ['conv'] }))
    await expect(createLoraFaOptimizer(grouped)).rejects.toThrow(/without groups; "base_model.model.conv" is neither/)
  })
})
