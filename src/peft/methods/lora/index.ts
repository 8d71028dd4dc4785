/** @file LoRA: registration. */
import { Conv1D, Convolution, Embedding, Linear } from '../../../nn/index.ts'
import { didYouMean } from '../../../util/nearest.ts'
import { baseModules } from '../../adapted-tree.ts'
import { type PeftMethod, registerPeftMethod } from '../../method.ts'
import { patternKey } from '../../pattern.ts'
import { withoutTies } from '../../token-adapter.ts'
import { originalOf, tunerAt } from '../../tuner-layer.ts'
import { combinedLoraConfig, combineLora } from './combine.ts'
import { LoraConfig } from './config.ts'
import { LoraConvolution } from './convolution.ts'
import { countParameters } from './count.ts'
import { LoraEmbedding } from './embedding.ts'
import { LoraLinear } from './linear.ts'
import { parameterHolders, targetedParameters, wrapParameters } from './parameters.ts'
import { toPlainLora } from './plain.ts'
import { replicateLayers } from './replication.ts'
import { swapLora } from './swap.ts'
import { LORA_TARGET_MODULES } from './targets.ts'
import { LoraTiedHead, tiedHeads, tieHeads, tieSavedModules, withoutTiedHeads } from './tied.ts'
import { trainTokens } from './tokens.ts'
import { tracedLora } from './traced.ts'

/** Puts an adapter on a module by what it is; undefined for what LoRA does not work on. */
const wrap: NonNullable<PeftMethod<LoraConfig>['wrap']> = context => {
  const { module, state, config, path } = context
  const original = originalOf(module)
  const parameters = targetedParameters(config, path, original)
  if (parameters.length) return wrapParameters(context, parameters)
  let layer: LoraLinear | LoraEmbedding | LoraConvolution
  if (original instanceof Linear || original instanceof Conv1D)
    layer = tunerAt(module, LoraLinear) ?? new LoraLinear(module as Linear, state)
  else if (original instanceof Embedding)
    layer = tunerAt(module, LoraEmbedding) ?? new LoraEmbedding(module as Embedding, state)
  else if (original instanceof Convolution)
    layer = tunerAt(module, LoraConvolution) ?? new LoraConvolution(module as Convolution, state)
  else return undefined
  layer.addAdapter(context)
  return layer
}

/** Patterns may name modules, and parameters that are adapted by themselves. */
const validate: NonNullable<PeftMethod<LoraConfig>['validate']> = (config, targets, model) => {
  const { rankPattern, alphaPattern, targetParameters, ensureWeightTying, useDora } = config
  const paths = [...targets, ...(targetParameters ?? [])]
  for (const [option, table] of Object.entries({ rankPattern, alphaPattern })) {
    for (const key of Object.keys(table)) {
      if (paths.some(path => patternKey([key], path, option))) continue
      const names = paths.map(path => path.slice(path.lastIndexOf('.') + 1))
      throw new Error(`LoraConfig: ${option} names "${key}", which matches no target module.${didYouMean(key, names)}`)
    }
  }
  if (!ensureWeightTying) return
  const heads = tiedHeads(model)
  if (heads.length === 0) {
    throw new Error(
      'LoraConfig: ensureWeightTying is true, but no layer of this model shares its weight with an embedding; set it to false',
    )
  }
  if (useDora && heads.some(({ embedding }) => targets.includes(embedding))) {
    throw new Error('LoraConfig: useDora cannot keep an embedding and its head tied; leave both out of targetModules')
  }
}

/** Without the matrices that stand in several places, with those of tied heads as PEFT saves them. */
const stateDict: NonNullable<PeftMethod<LoraConfig>['stateDict']> = ({ adapterName, model }, own) => {
  const result = new Map(
    [...withoutTies(own)].map(([key, parameter]) => [
      key.replace(/\.lora_magnitude_vector\.weight$/, '.lora_magnitude_vector'),
      parameter,
    ]),
  )
  for (const { path, module } of baseModules(model.tree)) {
    const head = tunerAt(module, LoraTiedHead)
    if (!head?.adapterNames().includes(adapterName)) continue
    const { a, b } = head.savedMatrices(adapterName)
    result.set(`base_model.model.${path}.lora_A.weight`, a)
    result.set(`base_model.model.${path}.lora_B.weight`, b)
  }
  return result
}

registerPeftMethod<LoraConfig>({
  peftType: 'LORA',
  about: {
    title: 'LoRA',
    family: 'reparameterized',
    formula: 'y = W x + b + (α / r) B A x',
    paper: 'arXiv 2106.09685',
    parameters: 'r (in + out) a layer; with DoRA out more',
    count: countParameters,
    example: options => new LoraConfig({ r: 4, loraAlpha: 8, ...options }),
    recommended: { learningRate: 2e-4, options: { targetModules: 'all-linear', r: 16, loraAlpha: 32 } },
    presets: {
      dora: { title: 'DoRA (arXiv 2402.09353)', create: () => new LoraConfig({ useDora: true }) },
      rslora: { title: 'rsLoRA (arXiv 2312.03732)', create: () => new LoraConfig({ useRslora: true }) },
      pissa: { title: 'PiSSA (arXiv 2404.02948)', create: () => new LoraConfig({ initLoraWeights: 'pissa' }) },
      olora: { title: 'OLoRA (arXiv 2406.01775)', create: () => new LoraConfig({ initLoraWeights: 'olora' }) },
    },
    oracle: 'adapters/lora-llama',
  },
  can: {
    merge: true,
    mixedBatch: 'native',
    weightedSum: true,
    convertToLora: true,
    noOpAtInit: true,
    several: true,
  },
  layerKinds: ['Linear', 'Conv1D', 'Embedding', 'Conv1d', 'Conv2d', 'Conv3d', 'parameters (with targetParameters)'],
  configFromJson: LoraConfig.fromJson,
  defaultTargetModules: modelType => LORA_TARGET_MODULES[modelType],
  complete: (config, { modelType }) => {
    // Where only parameters are named and the model type is not known, no modules are targets.
    if (config.targetParameters?.length) config.targetModules ??= LORA_TARGET_MODULES[modelType] ?? []
  },
  reshape: replicateLayers,
  adjustTargets: (config, model, named) => [
    ...withoutTiedHeads(config, model, named),
    ...parameterHolders(config, model, named),
  ],
  validate,
  wrap,
  tracedOptions: tracedLora,
  attached: context => {
    tieHeads(context)
    tieSavedModules(context)
    trainTokens(context)
  },
  stateDict,
  checkMerge: ({ config }) => {
    if (!config.layerReplication) return
    throw new Error(
      'An adapter with layerReplication cannot be merged: copies of a layer share one weight, and each has an update of its own. Keep the adapter beside the model, or train one without layerReplication.',
    )
  },
  toPlain: toPlainLora,
  combinedConfig: combinedLoraConfig,
  combine: combineLora,
  swap: swapLora,
})

export { type LoftQConfig, LoraConfig, type LoraConfigOptions, type LoraInit } from './config.ts'
export { type ConvertToLoraOptions, convertToLora, saveAsLora } from './convert.ts'
export { LoraConvolution } from './convolution.ts'
export { LoraEmbedding } from './embedding.ts'
export { LoraLayer, LoraWeightLayer } from './layer.ts'
export { LoraLinear } from './linear.ts'
export { LoraParameter } from './parameters.ts'
