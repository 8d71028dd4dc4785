/** @file Trainable tokens: registration. */
import type { Embedding, Module } from '../../../nn/index.ts'
import { type ModelFacts, registerPeftMethod } from '../../method.ts'
import { isTokenTable, tieTokens } from '../../token-adapter.ts'
import { originalOf, tunerAt } from '../../tuner-layer.ts'
import { TrainableTokensConfig } from './config.ts'
import { TrainableTokensLayer } from './layer.ts'

/** The path of the model's token embedding; PEFT's fallback where the model does not tell it. */
function embeddingPath({ base }: ModelFacts): string {
  const { getInputEmbeddings } = base as { getInputEmbeddings?: () => Module }
  const embedding = getInputEmbeddings?.call(base)
  return [...base.namedModules()].find(([, module]) => module === embedding)?.[0] ?? 'embed_tokens'
}

registerPeftMethod<TrainableTokensConfig>({
  peftType: 'TRAINABLE_TOKENS',
  about: {
    title: 'Trainable tokens',
    family: 'partial',
    formula: 'E[t] for the chosen tokens t is trained, all other rows stay',
    paper: 'PEFT, no paper',
    parameters: 'tokens x width a table; tied tables share them',
    count: ({ tokenIndices }, targets) => {
      const weights = new Set([...targets.values()].map(module => (module as Embedding).weight))
      return [...weights].reduce((sum, { shape }) => sum + tokenIndices.length * shape[1], 0)
    },
    example: options => new TrainableTokensConfig({ tokenIndices: [1, 3, 5], ...options }),
    recommended: { learningRate: 1e-2 },
    oracle: 'adapters/trainable-tokens',
  },
  can: {
    merge: true,
    mixedBatch: 'each',
    weightedSum: false,
    convertToLora: false,
    noOpAtInit: true,
    // Only where their tokens differ.
    several: false,
  },
  layerKinds: ['Embedding', 'Linear'],
  configFromJson: TrainableTokensConfig.fromJson,
  complete: (config, model) => {
    config.targetModules ??= embeddingPath(model)
  },
  validate: ({ tokenIndices }) => {
    if (tokenIndices.length > 0) return
    throw new Error(
      'TrainableTokensConfig: tokenIndices names no token, so nothing would train; name the indices that the tokenizer gives',
    )
  },
  savesEmbeddings: () => false,
  wrap: ({ module, state, adapterName, config, random }) => {
    if (!isTokenTable(originalOf(module))) return undefined
    const layer = tunerAt(module, TrainableTokensLayer) ?? new TrainableTokensLayer(module as Embedding, state)
    layer.addAdapter(adapterName, { tokens: config.tokenIndices, random: config.initWeights ? undefined : random })
    return layer
  },
  attached: ({ adapterName, layers, model, state }) => {
    const own = [...layers.values()] as TrainableTokensLayer[]
    tieTokens(TrainableTokensLayer, own, { tree: model.tree, adapterName, state })
  },
})

export { TrainableTokensConfig, type TrainableTokensConfigOptions } from './config.ts'
export { TrainableTokensLayer } from './layer.ts'
