/** @file Bottleneck adapters: registration. */
import { averagedConfig, averageParameters } from '../../adapterhub/average.ts'
import { ADAPTERHUB } from '../../adapterhub/format.ts'
import { registerPeftMethod } from '../../method.ts'
import { BnConfig } from './config.ts'
import { countBottleneck } from './count.ts'
import './hub.ts'
import {
  CompacterConfig,
  CompacterPlusPlusConfig,
  DoubleSeqBnConfig,
  ParBnConfig,
  ScaledParBnConfig,
  SeqBnConfig,
} from './named-configs.ts'
import { choosePlaces } from './places.ts'
import { createShared, enterEmbedded, wrapPlace } from './wrap.ts'

registerPeftMethod<BnConfig>({
  peftType: 'BOTTLENECK',
  about: {
    title: 'Bottleneck adapters',
    family: 'additive',
    formula: 'y = h + U f(D x + d) + u, h and x the result and the normalised sum of a sublayer',
    paper: 'arXiv 1902.00751',
    parameters: '2 H b + b + H a place, b = H / reductionFactor',
    count: countBottleneck,
    example: options => new BnConfig({ originalLnBefore: true, reductionFactor: 4, ...options }),
    recommended: { learningRate: 1e-3 },
    oracle: 'adapterhub/seq_bn-bert',
    presets: {
      houlsby: { title: 'Houlsby adapters (arXiv 1902.00751)', create: () => new DoubleSeqBnConfig() },
      pfeiffer: { title: 'Pfeiffer adapters (arXiv 2005.00247)', create: () => new SeqBnConfig() },
      parallel: { title: 'Parallel adapters (arXiv 2110.04366)', create: () => new ParBnConfig() },
      scaled_parallel: { title: 'Scaled parallel adapters (arXiv 2110.04366)', create: () => new ScaledParBnConfig() },
      compacter: { title: 'Compacter (arXiv 2106.04647)', create: () => new CompacterConfig() },
      'compacter++': { title: 'Compacter++ (arXiv 2106.04647)', create: () => new CompacterPlusPlusConfig() },
    },
  },
  can: {
    merge: false,
    mixedBatch: 'each',
    weightedSum: true,
    convertToLora: false,
    noOpAtInit: false,
    several: true,
  },
  layerKinds: ['Residual', 'Linear'],
  // A gate is averaged over the sequence.
  readsWhole: ({ useGating }) => useGating,
  configFromJson: BnConfig.fromJson,
  // What AdapterHub's files have no place for is saved as PEFT saves.
  format: ({ targetModules, invBeforeOutput }) =>
    targetModules === null && invBeforeOutput === null ? ADAPTERHUB : 'peft',
  chooseModules: choosePlaces,
  shared: createShared,
  wrap: wrapPlace,
  enter: enterEmbedded,
  combinedConfig: context => averagedConfig(context),
  combine: context => averageParameters(context),
})

export { type AdapterInput, type AdapterOutput, BottleneckAdapter, type SublayerState } from './adapter.ts'
export { BnConfig, type BnConfigOptions, type ReductionFactor } from './config.ts'
export { InverseLayer, InvertibleAdapter, InvertibleLayer } from './invertible.ts'
export { BottleneckLayer, BottleneckLinear } from './layer.ts'
export {
  AdapterPlusConfig,
  CompacterConfig,
  CompacterPlusPlusConfig,
  DoubleSeqBnConfig,
  DoubleSeqBnInvConfig,
  ParBnConfig,
  ScaledParBnConfig,
  SeqBnConfig,
  SeqBnInvConfig,
} from './named-configs.ts'
export { PhmLayer, PhmShared } from './phm.ts'
