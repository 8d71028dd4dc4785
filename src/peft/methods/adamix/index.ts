/** @file AdaMix: registration, and the end of a mixture: its experts become one. */

import { Tensor } from '../../../graph/index.ts'
import { Residual } from '../../../nn/index.ts'
import { type AdapterContext, registerPeftMethod } from '../../method.ts'
import type { PeftModel } from '../../model.ts'
import { changed, originalOf, type TunerLayer, tunerAt } from '../../tuner-layer.ts'
import { AdaMixConfig } from './config.ts'
import { withConsistency } from './consistency.ts'
import { expertsSize } from './experts.ts'
import { AdaMixAdapterLayer, type AdaMixLayer, AdaMixLoraLayer } from './layer.ts'
import { isDense, mixturePlaces, sizesOn } from './places.ts'

/** What keys of the experts themselves have in them. */
const EXPERTS = '.adamix_experts.'

/** The file beside the adapter's own that holds the experts, to train on. */
const EXPERTS_FILE = 'adamix_experts.safetensors'

function collapse({ layers, adapterName, config, state }: AdapterContext<AdaMixConfig>): void {
  for (const layer of layers.values()) (layer as AdaMixLayer).collapse(adapterName)
  config.numExperts = 1
  changed(state)
}

registerPeftMethod<AdaMixConfig>({
  peftType: 'ADAMIX',
  about: {
    title: 'AdaMix',
    family: 'unified',
    formula:
      'training: h ← h + U_j gelu(D_i h) with i, j drawn for each batch and layer, loss + ½ (KL(p₁‖p₂) + KL(p₂‖p₁)) of two draws; then: the mean of all U and D',
    paper: 'arXiv 2205.12410',
    parameters: 'M (d r + r) + r d + d a feed-forward network for M experts with a shared way up; in use those of one',
    count: (config, targets) =>
      [...targets.values()].reduce((sum, module) => sum + expertsSize(config, sizesOn(module)), 0),
    // LoRA, because it works on every model; the default are adapters.
    example: options => new AdaMixConfig({ base: 'lora', r: 4, loraAlpha: 8, numExperts: 3, ...options }),
    recommended: { learningRate: 3e-4 },
  },
  can: {
    merge: true,
    mixedBatch: 'each',
    weightedSum: false,
    convertToLora: false,
    noOpAtInit: true,
    several: true,
  },
  layerKinds: ['Residual', 'Linear', 'Conv1D'],
  configFromJson: AdaMixConfig.fromJson,
  chooseModules: mixturePlaces,
  wrap: context => {
    const { module, state } = context
    const original = originalOf(module)
    let layer: (AdaMixLayer & TunerLayer) | undefined
    if (original instanceof Residual) {
      layer = tunerAt(module, AdaMixAdapterLayer) ?? new AdaMixAdapterLayer(module as Residual, state)
    } else if (isDense(original)) {
      layer = tunerAt(module, AdaMixLoraLayer) ?? new AdaMixLoraLayer(module as typeof original, state)
    }
    layer?.addAdapter(context)
    return layer
  },
  enter: (inputs, context) => {
    // A module of one's own takes tensors, and what it gives need not be predictions.
    if (inputs instanceof Tensor || !context.graph.training) return { inputs }
    return { inputs, leave: withConsistency(inputs, context) }
  },
  stateDict: ({ layers, adapterName }, own) => {
    for (const layer of layers.values()) (layer as AdaMixLayer).average(adapterName)
    return new Map([...own].filter(([key]) => !key.includes(EXPERTS)))
  },
  trainingFile: {
    name: EXPERTS_FILE,
    stateDict: (_, own) => new Map([...own].filter(([key]) => key.includes(EXPERTS))),
  },
  beforeLoad: (context, shapes) => {
    if (![...shapes.keys()].some(key => key.includes(EXPERTS))) collapse(context)
  },
  checkMerge: ({ config }) => {
    if (config.base === 'lora') return
    throw new Error(
      'ADAMIX: adapters cannot become part of the weights, they are computed beside them; averageExperts(peft) leaves one adapter of all experts. With base "lora" a mixture can be merged.',
    )
  },
})

/**
 * Ends a mixture: its experts are replaced by their average, which is what inference computes of them anyway. The
 * adapter is as small as one expert then, trains on as an ordinary one, and its files hold no experts.
 *
 * @throws when there is no such adapter, or it is of another method
 */
export function averageExperts(model: PeftModel, adapterName = 'default'): void {
  const adapter = model.adapter(adapterName)
  if (adapter.config.peftType !== 'ADAMIX') {
    throw new Error(`averageExperts: "${adapterName}" is ${adapter.config.peftType}, expected an adapter of ADAMIX`)
  }
  collapse(adapter as unknown as AdapterContext<AdaMixConfig>)
  model.refreshTrained(adapterName)
}

export { AdaMixConfig, type AdaMixConfigOptions } from './config.ts'
export { AdaMixAdapterLayer, AdaMixLoraLayer } from './layer.ts'
