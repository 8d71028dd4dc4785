/** @file Tests of choosing what trains, and what decays. */
import { describe, expect, it } from 'vitest'
import { Module, Parameter, RMSNorm } from '../nn/index.ts'
import { freeze, setTrainable, trainHead } from './parameters.ts'
import { BagClassifier, BigramModel } from './testing/models.ts'
import { decayRule } from './weight-decay.ts'

const trainable = (module: Module) =>
  [...module.namedParameters()].filter(([, parameter]) => parameter.requiresGrad).map(([name]) => name)

describe('freeze', () => {
  it('leaves nothing to train', () => {
    const model = new BagClassifier()
    freeze(model)
    expect(trainable(model)).toEqual([])
  })
})

describe('setTrainable', () => {
  it('trains what is chosen and nothing else', () => {
    const model = new BagClassifier()
    expect(setTrainable(model, name => name.endsWith('bias'))).toEqual([
      'body.norm.bias',
      'body.dense.bias',
      'classifier.bias',
    ])
    expect(trainable(model)).toEqual(['body.norm.bias', 'body.dense.bias', 'classifier.bias'])
  })

  it('trains everything again for full fine-tuning', () => {
    const model = new BagClassifier()
    freeze(model)
    setTrainable(model, () => true)
    expect(trainable(model)).toHaveLength(model.parameters().length)
  })

  it('refuses to choose nothing, and changes nothing then', () => {
    const model = new BagClassifier()
    expect(() => setTrainable(model, () => false)).toThrow(/nothing to train/)
    expect(trainable(model)).toHaveLength(model.parameters().length)
  })
})

describe('trainHead', () => {
  it('trains what stands beside the base', () => {
    const model = new BagClassifier()
    expect(trainHead(model)).toEqual(['classifier.weight', 'classifier.bias'])
  })

  it('trains further modules by path', () => {
    const model = new BagClassifier()
    expect(trainHead(model, ['body.dense'])).toContain('body.dense.weight')
    expect(() => trainHead(model, ['body.dens'])).toThrow(/no module "body.dens".*"body.dense"/)
  })

  it('refuses a model without a head', () => {
    const model = Object.assign(new BigramModel(), { baseModelPrefix: 'model' })
    expect(() => trainHead(model)).toThrow(/no parameters of its own beside "model"/)
  })
})

describe('decayRule', () => {
  class Odd extends Module {
    scale = new RMSNorm(2)
    self_attn_layer_norm = new Inner()
    dense = new Inner()
    bias_free = new Inner()
    forward(): void {}
  }
  class Inner extends Module {
    weight = new Parameter([2])
    bias = new Parameter([2])
    forward(): void {}
  }

  it('spares biases and norms, by layer and by name', () => {
    const decays = (module: Module) => {
      const rule = decayRule(module)
      return [...module.namedParameters()].filter(([name, parameter]) => rule(name, parameter)).map(([name]) => name)
    }
    expect(decays(new BagClassifier())).toEqual(['body.embeddings.weight', 'body.dense.weight', 'classifier.weight'])
    expect(decays(new Odd())).toEqual(['dense.weight'])
  })
})
