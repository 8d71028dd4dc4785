/** @file KronA: registration. */
import { Conv1D, Linear } from '../../../nn/index.ts'
import { registerPeftMethod } from '../../method.ts'
import { originalOf, tunerAt } from '../../tuner-layer.ts'
import { LORA_TARGET_MODULES } from '../lora/targets.ts'
import { factorShapes, KronAConfig } from './config.ts'
import { KronALayer } from './layer.ts'

const product = ([rows, columns]: readonly [number, number]) => rows * columns

registerPeftMethod<KronAConfig>({
  peftType: 'KRONA',
  about: {
    title: 'KronA',
    family: 'reparameterized',
    formula: 'y = W x + b + s (A ⊗ B) x',
    paper: 'arXiv 2212.10650',
    parameters: 'a₁ a₂ + (out / a₁)(in / a₂) a layer',
    count: (config, targets) => {
      const sizes = ([...targets.values()] as Linear[]).map(({ outFeatures, inFeatures }) => {
        const { left, right } = factorShapes(config, outFeatures, inFeatures)
        return product(left) + product(right)
      })
      return sizes.reduce((sum, size) => sum + size, 0)
    },
    example: options => new KronAConfig(options),
    recommended: { learningRate: 5e-3, options: { targetModules: 'all-linear' } },
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
  configFromJson: KronAConfig.fromJson,
  defaultTargetModules: modelType => LORA_TARGET_MODULES[modelType],
  wrap: context => {
    const { module, state } = context
    const original = originalOf(module)
    if (!(original instanceof Linear || original instanceof Conv1D)) return undefined
    const layer = tunerAt(module, KronALayer) ?? new KronALayer(module as Linear, state)
    layer.addAdapter(context)
    return layer
  },
})

export { KronAConfig, type KronAConfigOptions } from './config.ts'
export { KronALayer } from './layer.ts'
