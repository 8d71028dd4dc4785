/** @file FISH Mask: registration. */
import { registerPeftMethod } from '../../method.ts'
import { allocate, chooseByFisher, reserveEntries, SPARSE_FILES, sparseSizes, wrapSparse } from '../../sparse/index.ts'
import { FishMaskConfig } from './config.ts'

const budget = ({ keepShare, scope }: FishMaskConfig) => ({ share: keepShare, scope })

registerPeftMethod<FishMaskConfig>({
  ...SPARSE_FILES,
  peftType: 'FISH_MASK',
  about: {
    title: 'FISH Mask',
    family: 'partial',
    formula: 'θ_i trains where (1/N) Σ_n (∂_i log p(y_n | x_n))² is among the k largest, otherwise it stays',
    paper: 'arXiv 2111.09839',
    parameters: 'a share of the target weights (0.5 % of all, chosen with data)',
    count: (config, targets) => {
      const counts = allocate(sparseSizes(targets, config), config.keepShare, config.scope)
      return counts.reduce((sum, count) => sum + count, 0)
    },
    example: options => new FishMaskConfig({ keepShare: 0.05, numSamples: 8, ...options }),
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
  layerKinds: ['any module with parameters of its own'],
  configFromJson: FishMaskConfig.fromJson,
  defaultTargetModules: () => 'all-linear',
  wrap: wrapSparse,
  attached: context => reserveEntries(context, budget(context.config)),
  prepare: (context, tools) => {
    const { numSamples: limit } = context.config
    return chooseByFisher(context, tools, { ...budget(context.config), perExample: true, limit })
  },
})

export { FishMaskConfig, type FishMaskConfigOptions } from './config.ts'
