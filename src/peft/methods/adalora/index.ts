/** @file AdaLoRA: registration. */
import { add, mul, type Tensor } from '../../../graph/index.ts'
import { Conv1D, Linear, type Parameter } from '../../../nn/index.ts'
import { type AdapterContext, registerPeftMethod } from '../../method.ts'
import { withoutTies } from '../../token-adapter.ts'
import { originalOf, tunerAt } from '../../tuner-layer.ts'
import type { LoraConfig } from '../lora/config.ts'
import { trainTokens } from '../lora/tokens.ts'
import { AdaLoraConfig } from './config.ts'
import { AdaLoraLayer } from './layer.ts'
import { RankAllocator } from './rank-allocator.ts'
import { isWhole, patternOf, prunedFactors, rankPattern } from './rank-pattern.ts'
import { ADALORA_TARGET_MODULES } from './targets.ts'

const layersOf = ({ layers }: AdapterContext<AdaLoraConfig>) => layers as ReadonlyMap<string, AdaLoraLayer>

/** The mean over all matrices of how far they are from orthonormal, times its weight. */
function penalty(context: AdapterContext<AdaLoraConfig>): Tensor | undefined {
  const { adapterName, config } = context
  const layers = [...layersOf(context).values()]
  if (config.orthRegWeight === 0) return undefined
  const parts = layers.flatMap(layer => layer.orthogonality(adapterName) ?? [])
  if (parts.length === 0) return undefined
  return mul(
    parts.reduce((total, part) => add(total, part)),
    config.orthRegWeight / (2 * layers.length),
  )
}

registerPeftMethod<AdaLoraConfig>({
  peftType: 'ADALORA',
  about: {
    title: 'AdaLoRA',
    family: 'reparameterized',
    formula: 'y = W x + b + (α / r) B (E ⊙ A x); the least important entries of E become zero',
    paper: 'arXiv 2303.10512',
    parameters: 'initR (in + out + 1) a layer',
    count: ({ initR, rankPattern: pattern }, targets) => {
      let total = 0
      for (const [path, module] of targets) {
        const { inFeatures, outFeatures } = module as Linear
        const rank = patternOf(pattern, path)?.filter(Boolean).length ?? initR
        total += rank * (inFeatures + outFeatures + 1)
      }
      return total
    },
    example: options => new AdaLoraConfig({ initR: 4, targetR: 2, ...options }),
    recommended: { learningRate: 2e-3, options: { targetModules: 'all-linear' } },
    oracle: 'adapters/adalora',
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
  configFromJson: AdaLoraConfig.fromJson,
  defaultTargetModules: modelType => ADALORA_TARGET_MODULES[modelType],
  wrap: context => {
    const { module, state, config } = context
    const original = originalOf(module)
    if (!(original instanceof Linear || original instanceof Conv1D)) return undefined
    if (original instanceof Conv1D) config.fanInFanOut = true
    const layer = tunerAt(module, AdaLoraLayer) ?? new AdaLoraLayer(module as Linear, state)
    layer.addAdapter(context)
    return layer
  },
  // The option is LoRA's, and so is what it does.
  attached: context => trainTokens(context as unknown as AdapterContext<LoraConfig>),
  savesEmbeddings: ({ trainableTokenIndices }) => trainableTokenIndices === null,
  enter: (inputs, context) => {
    // Rows of several adapters are not trained together, so there is no loss to add to.
    const loss = inputs.adapter_indices ? undefined : context.graph.trace(() => penalty(context))
    if (loss) context.graph.addLoss(loss)
    return { inputs }
  },
  updateHook: context => new RankAllocator(context.adapterName, context.config, layersOf(context).values()),
  stateDict: (context, own) => {
    const { adapterName, config } = context
    const layers = layersOf(context)
    const entries = [...withoutTies(own)].filter(([key]) => !key.endsWith('.ranknum'))
    if (isWhole(layers.values(), adapterName)) {
      // The pattern of an earlier training does not hold for what is there now.
      if (Object.values(config.rankPattern ?? {}).some(pattern => pattern.includes(false))) config.rankPattern = null
      return new Map(entries)
    }
    config.rankPattern = rankPattern(layers, adapterName)
    const pruned = new Map<Parameter, Parameter>()
    for (const layer of layers.values()) {
      for (const [whole, part] of prunedFactors(layer, adapterName)) pruned.set(whole, part)
    }
    return new Map(entries.map(([key, parameter]) => [key, pruned.get(parameter) ?? parameter]))
  },
})

export { AdaLoraConfig, type AdaLoraConfigOptions, type RankPattern } from './config.ts'
export { AdaLoraLayer } from './layer.ts'
export { RankAllocator } from './rank-allocator.ts'
