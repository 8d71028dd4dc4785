/** @file VeRA: registration. */
import { Conv1D, type Linear, type Parameter } from '../../../nn/index.ts'
import { registerPeftMethod } from '../../method.ts'
import { originalOf, tunerAt } from '../../tuner-layer.ts'
import { LORA_TARGET_MODULES } from '../lora/targets.ts'
import { VeraConfig } from './config.ts'
import { VeraLayer } from './layer.ts'
import { drawProjections, isDense } from './projections.ts'

/** Where the shared matrices stand on the model. */
const A = 'base_model.vera_A'
const B = 'base_model.vera_B'

registerPeftMethod<VeraConfig>({
  peftType: 'VERA',
  about: {
    title: 'VeRA',
    family: 'reparameterized',
    formula: 'y = W x + b + λ_b ⊙ B (λ_d ⊙ A x), A and B frozen, random, shared by all layers',
    paper: 'arXiv 2310.11454',
    parameters: 'r + out a layer',
    count: ({ r }, targets) => [...targets.values()].reduce((sum, layer) => sum + r + (layer as Linear).outFeatures, 0),
    example: options => new VeraConfig({ r: 8, ...options }),
    recommended: { learningRate: 1e-2, options: { targetModules: 'all-linear' } },
    oracle: 'adapters/vera',
  },
  can: {
    merge: true,
    mixedBatch: 'each',
    weightedSum: false,
    convertToLora: true,
    noOpAtInit: true,
    several: true,
  },
  layerKinds: ['Linear', 'Conv1D'],
  configFromJson: VeraConfig.fromJson,
  defaultTargetModules: modelType => (modelType === 'phi' ? ['q_proj', 'v_proj'] : LORA_TARGET_MODULES[modelType]),
  shared: ({ config, targets, model }) => {
    const modules = new Map(model.base.namedModules())
    const { a, b } = drawProjections(
      targets.map(path => modules.get(path)!),
      config.r,
      config.projectionPrngKey,
    )
    return { [A]: a, [B]: b }
  },
  wrap: context => {
    const { module, state, shared, config } = context
    const original = originalOf(module)
    if (!isDense(original)) return undefined
    if (original instanceof Conv1D) config.fanInFanOut = true
    const layer = tunerAt(module, VeraLayer) ?? new VeraLayer(module as Linear, state)
    layer.addAdapter(context, { a: shared[A] as Parameter, b: shared[B] as Parameter })
    return layer
  },
  stateDict: ({ config }, own) => {
    if (config.saveProjection) return new Map(own)
    return new Map([...own].filter(([key]) => key !== A && key !== B))
  },
})

export { VeraConfig, type VeraConfigOptions } from './config.ts'
export { VeraLayer } from './layer.ts'
