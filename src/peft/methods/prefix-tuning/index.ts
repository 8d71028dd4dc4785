/** @file Prefix tuning: registration. */
import { type AdapterContext, type ModelFacts, registerPeftMethod } from '../../method.ts'
import {
  completeFromModel,
  enterWithPrefix,
  LAYERED_FILES,
  prefixKeyValues,
  prefixShape,
  sharedTokens,
  virtualTokensOf,
} from '../../prompt-learning/index.ts'
import { PrefixTuningConfig } from './config.ts'
import { PrefixEncoder, prefixSize } from './prefix-encoder.ts'

registerPeftMethod<PrefixTuningConfig>({
  ...LAYERED_FILES,
  peftType: 'PREFIX_TUNING',
  about: {
    title: 'Prefix tuning',
    family: 'additive',
    formula: 'attention over [P_K; K] and [P_V; V] in every layer, P_K and P_V trained, or made by an MLP that is',
    paper: 'arXiv 2101.00190; without projection and with a trained head it is P-tuning v2, arXiv 2110.07602',
    parameters: 'virtual tokens × 2 × layers × width of the keys of a layer',
    count: prefixSize,
    example: options => new PrefixTuningConfig({ numVirtualTokens: 4, ...options }),
    recommended: { learningRate: 1e-2, options: { numVirtualTokens: 20 } },
    presets: {
      p_tuning_v2: {
        title: 'P-tuning v2 (arXiv 2110.07602)',
        // A classifier's task adds the trained head that belongs to it.
        create: () => new PrefixTuningConfig({ numVirtualTokens: 20 }),
      },
    },
    oracle: 'adapters/prefix-tuning',
  },
  can: {
    merge: false,
    mixedBatch: false,
    weightedSum: false,
    convertToLora: false,
    noOpAtInit: false,
    several: true,
  },
  layerKinds: [],
  configFromJson: PrefixTuningConfig.fromJson,
  complete: (config, model) => {
    const { layers, heads, width } = shapeFor(config, model)
    completeFromModel(config, model, { tokenDim: heads * width, numAttentionHeads: heads, numLayers: layers })
    config.encoderHiddenSize ??= config.tokenDim
  },
  validate: (config, _, model) => {
    const { layers, heads, width } = shapeFor(config, model)
    const expected = { tokenDim: heads * width, numAttentionHeads: heads, numLayers: layers }
    for (const [name, value] of Object.entries(expected)) {
      const got = config[name as keyof typeof expected]
      if (got === value) continue
      throw new Error(
        `PrefixTuningConfig: ${name} is ${got}, the keys and values of ${model.modelType} have ${value}; leave it out`,
      )
    }
  },
  shared: context => sharedTokens(new PrefixEncoder(context.config), context),
  enter: (inputs, context) => enterWithPrefix(inputs, keyValuesOf(context), context.model),
  front: ({ numVirtualTokens }, { config }) => ({
    positions: config?.is_encoder_decoder ? 0 : numVirtualTokens!,
    predicts: false,
  }),
  prelude: context => ({ keyValues: keyValuesOf(context) }),
})

const shapeFor = (config: PrefixTuningConfig, model: ModelFacts) => prefixShape(model, config.peftType)

const keyValuesOf = (context: AdapterContext<PrefixTuningConfig>) => {
  const { config, model } = context
  return prefixKeyValues(virtualTokensOf(context).forward(), shapeFor(config, model), config.numTransformerSubmodules!)
}

export { PrefixTuningConfig, type PrefixTuningConfigOptions } from './config.ts'
