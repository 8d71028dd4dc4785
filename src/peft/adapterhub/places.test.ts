/** @file AdapterHub's names of places in every architecture. */
import { describe, expect, it } from 'vitest'
import { AutoConfig, AutoModelForImageClassification } from '../../models/index.ts'
import type { ModelFacts } from '../method.ts'
import { HUB_MODEL_TYPES, hubName, hubPlaces } from './places.ts'

/** A model of a type, whose base model stands under a prefix; without one it has no head. */
const facts = (modelType: string, prefix?: string) =>
  ({ modelType, base: prefix === undefined ? {} : { baseModel: {}, baseModelPrefix: prefix } }) as unknown as ModelFacts

describe('hubName', () => {
  it.each([
    ['bert', 'bert.encoder.layer.0.attention.output.residual', 'bert.encoder.layer.0.attention.output'],
    ['roberta', 'roberta.encoder.layer.1.output.residual', 'roberta.encoder.layer.1.output'],
    ['distilbert', 'distilbert.transformer.layer.0.mlp_residual', 'distilbert.transformer.layer.0.output_adapters'],
    ['gpt2', 'transformer.h.0.attention_residual', 'transformer.h.0.attention_adapters'],
    ['llama', 'model.layers.3.mlp_residual', 'model.layers.3.output_adapters'],
    ['qwen2', 'model.layers.3.attention_residual', 'model.layers.3.attention_adapters'],
    ['t5', 'decoder.block.0.layer.2.residual', 'decoder.block.0.layer.2'],
    ['bart', 'model.decoder.layers.0.cross_attention_residual', 'model.decoder.layers.0.cross_attention_adapters'],
    ['a type nobody knows', 'blocks.0.mlp_residual', 'blocks.0.output_adapters'],
  ])('in %s of %s is %s', (type, path, name) => {
    const parameter = 'adapters.a.adapter_up.weight'
    expect(hubName(`base_model.model.${path}.${parameter}`, facts(type))).toBe(`${name}.${parameter}`)
  })

  it('is what checkpoints call modules that have other names today', () => {
    const config = AutoConfig.fromJSON({ model_type: 'vit', num_hidden_layers: 1, hidden_size: 12, image_size: 16 })
    const base = AutoModelForImageClassification.fromConfig(config)
    const nameOf = (path: string) => hubName(`base_model.model.vit.layers.0.${path}`, { ...facts('vit'), base })
    expect(nameOf('attention_residual.adapters.a')).toBe('vit.encoder.layer.0.attention_adapters.adapters.a')
    expect(nameOf('mlp_residual.adapters.a')).toBe('vit.encoder.layer.0.output.output_adapters.adapters.a')
    expect(nameOf('attention.v_proj.loras.a')).toBe('vit.encoder.layer.0.attention.attention.value.loras.a')
    expect(nameOf('mlp.fc2.loras.a')).toBe('vit.encoder.layer.0.output.dense.loras.a')
  })

  it('puts what the layers share into the base model, wherever a layer holds it', () => {
    for (const path of ['base_model', 'base_model.model.bert.encoder.layer.0.output.residual']) {
      const shared = `${path}.shared_parameters.a.phm_rule`
      expect(hubName(shared, facts('bert', 'bert'))).toBe('bert.shared_parameters.a.phm_rule')
      expect(hubName(shared, facts('bert'))).toBe('shared_parameters.a.phm_rule')
    }
  })

  it('puts invertible adapters into the encoder where there are two stacks', () => {
    const path = 'base_model.invertible_adapters.a.F.0.bias'
    expect(hubName(path, facts('gpt2', 'transformer'))).toBe('transformer.invertible_adapters.a.F.0.bias')
    expect(hubName(path, facts('t5'))).toBe('encoder.invertible_adapters.a.F.0.bias')
    expect(hubName(path, facts('bart', 'model'))).toBe('model.encoder.invertible_adapters.a.F.0.bias')
  })
})

describe('hubPlaces', () => {
  it('knows what it lists, and no names that objects have by nature', () => {
    for (const type of HUB_MODEL_TYPES) expect(hubPlaces(type)).toBeDefined()
    expect(hubPlaces('constructor')).toBeUndefined()
  })
})
