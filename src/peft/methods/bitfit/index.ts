/** @file BitFit: registration. */
import { registerPeftMethod } from '../../method.ts'
import { originalOf, tunerAt } from '../../tuner-layer.ts'
import { BitFitConfig } from './config.ts'
import { BitFitLayer } from './layer.ts'
import { biasOf, chooseBiases } from './targets.ts'

registerPeftMethod<BitFitConfig>({
  peftType: 'BITFIT',
  about: {
    title: 'BitFit',
    family: 'partial',
    formula: 'y = W x + b with trained b',
    paper: 'arXiv 2106.10199',
    parameters: 'the biases of the target modules',
    count: (_, targets) => [...targets.values()].reduce((sum, module) => sum + (biasOf(module)?.size ?? 0), 0),
    example: options => new BitFitConfig(options),
    recommended: { learningRate: 1e-3 },
  },
  can: {
    merge: true,
    mixedBatch: 'each',
    weightedSum: false,
    convertToLora: false,
    noOpAtInit: true,
    several: true,
  },
  layerKinds: ['any module with a bias'],
  configFromJson: BitFitConfig.fromJson,
  chooseModules: chooseBiases,
  wrap: ({ module, state, adapterName }) => {
    if (!biasOf(originalOf(module))) return undefined
    const layer = tunerAt(module, BitFitLayer) ?? new BitFitLayer(module, state)
    layer.addAdapter(adapterName)
    return layer
  },
})

export { type Biases, BitFitConfig, type BitFitConfigOptions } from './config.ts'
export { BitFitLayer } from './layer.ts'
