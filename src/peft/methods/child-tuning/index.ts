/** @file Child-Tuning: registration. */
import { registerPeftMethod } from '../../method.ts'
import {
  allocate,
  chooseByFisher,
  type MaskBudget,
  reserveEntries,
  SPARSE_FILES,
  sparseSizes,
  trainAllEntries,
  wrapSparse,
} from '../../sparse/index.ts'
import { ChildTuningConfig } from './config.ts'
import { RandomPart } from './random-part.ts'

const budget = ({ reserveP }: ChildTuningConfig): MaskBudget => ({ share: reserveP, scope: 'global' })
const sum = (sizes: readonly number[]) => sizes.reduce((total, size) => total + size, 0)

registerPeftMethod<ChildTuningConfig>({
  ...SPARSE_FILES,
  peftType: 'CHILD_TUNING',
  about: {
    title: 'Child-Tuning',
    family: 'partial',
    formula:
      'D: θ_i trains where its Fisher information is among the p largest; F: g ← g ⊙ Bernoulli(p) / p in each step',
    paper: 'arXiv 2109.05687',
    parameters: 'D: a share of the target weights (30 %); F: all of them, a share in each step',
    count: (config, targets) => {
      const sizes = sparseSizes(targets, config)
      const { share, scope } = budget(config)
      return config.variant === 'F' ? sum(sizes) : sum(allocate(sizes, share, scope))
    },
    example: options => new ChildTuningConfig({ reserveP: 0.2, ...options }),
    recommended: { learningRate: 1e-4 },
    presets: {
      child_tuning_d: { title: 'Child-Tuning D', create: () => new ChildTuningConfig({ variant: 'D' }) },
      child_tuning_f: { title: 'Child-Tuning F', create: () => new ChildTuningConfig({ variant: 'F' }) },
    },
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
  configFromJson: ChildTuningConfig.fromJson,
  defaultTargetModules: () => 'all-linear',
  wrap: wrapSparse,
  attached: context => {
    if (context.config.variant === 'F') trainAllEntries(context)
    else reserveEntries(context, budget(context.config))
  },
  wantsData: ({ variant }) => variant === 'D',
  prepare: (context, tools) => {
    const { numSamples, maxGradNorm } = context.config
    const options = { perExample: false, limit: numSamples ?? undefined, maxGradNorm: maxGradNorm ?? undefined }
    return chooseByFisher(context, tools, { ...budget(context.config), ...options })
  },
  updateHook: ({ config }) => (config.variant === 'F' ? new RandomPart(config.reserveP, config.maskSeed) : undefined),
})

export { ChildTuningConfig, type ChildTuningConfigOptions } from './config.ts'
