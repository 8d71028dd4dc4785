/** @file (IA)3: registration. */
import { Conv1D, Linear } from '../../../nn/index.ts'
import { registerPeftMethod } from '../../method.ts'
import { originalOf, tunerAt } from '../../tuner-layer.ts'
import { combinedIA3Config, combineIA3 } from './combine.ts'
import { IA3Config } from './config.ts'
import { IA3Layer, isFeedforward } from './layer.ts'
import { IA3_MODULES } from './targets.ts'

registerPeftMethod<IA3Config>({
  peftType: 'IA3',
  about: {
    title: '(IA)³',
    family: 'additive',
    formula: 'y = l ⊙ (W x + b), in feed-forward layers y = W (l ⊙ x) + b',
    paper: 'arXiv 2205.05638',
    parameters: 'out a layer, in for a feed-forward one',
    count: (config, targets) => {
      let total = 0
      for (const [path, module] of targets) {
        const { inFeatures, outFeatures } = module as Linear
        total += isFeedforward(config, path) ? inFeatures : outFeatures
      }
      return total
    },
    example: options => new IA3Config(options),
    recommended: { learningRate: 3e-3 },
    oracle: 'adapters/ia3-llama',
  },
  can: {
    merge: true,
    mixedBatch: 'native',
    weightedSum: true,
    convertToLora: false,
    noOpAtInit: true,
    several: true,
  },
  layerKinds: ['Linear', 'Conv1D'],
  configFromJson: IA3Config.fromJson,
  defaultTargetModules: modelType => IA3_MODULES[modelType]?.targets,
  complete: (config, { modelType }) => {
    config.feedforwardModules ??= IA3_MODULES[modelType]?.feedforward ?? []
  },
  // Its vectors' shapes show what they multiply.
  tracedOptions: ({ config: { taskType } }) => ({ taskType }),
  combinedConfig: combinedIA3Config,
  combine: combineIA3,
  wrap: context => {
    const { module, state, config, path } = context
    const original = originalOf(module)
    if (!(original instanceof Linear || original instanceof Conv1D)) return undefined
    const layer = tunerAt(module, IA3Layer) ?? new IA3Layer(module as Linear, state, isFeedforward(config, path))
    if (layer.isFeedforward !== isFeedforward(config, path)) {
      throw new Error(
        `IA3: another adapter scales the ${layer.isFeedforward ? 'input' : 'output'} of "${path}", this one does not`,
      )
    }
    layer.addAdapter(context)
    return layer
  },
})

export { IA3Config, type IA3ConfigOptions } from './config.ts'
export { IA3Layer } from './layer.ts'
