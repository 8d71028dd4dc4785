/** @file AdapterFusion: registration, and how it is added to a model. */
import { Residual } from '../../../nn/index.ts'
import { baseModules } from '../../adapted-tree.ts'
import { registerPeftMethod } from '../../method.ts'
import type { PeftModel } from '../../model.ts'
import { tunerAt } from '../../tuner-layer.ts'
import { FusionLayer } from '../bottleneck/fusion-layer.ts'
import { drawValues } from '../bottleneck/init.ts'
import { BottleneckLayer } from '../bottleneck/layer.ts'
import { AdapterFusionConfig } from './config.ts'
import { HUB_FUSION } from './file-names.ts'
import './format.ts'

registerPeftMethod<AdapterFusionConfig>({
  peftType: 'ADAPTER_FUSION',
  about: {
    title: 'AdapterFusion',
    family: 'additive',
    formula: 'y = Σ pₜ V zₜ + r, p = softmax over t of (Q x)(K zₜ), zₜ the result of adapter t',
    paper: 'arXiv 2005.00247',
    parameters: '3 H² + 2 H a place (static: 2 H² + 2 H)',
    count: ({ key, query, value }, targets) => {
      let total = 0
      for (const module of targets.values()) {
        const { width } = module as Residual
        total += (Number(key) + Number(query)) * (width ** 2 + width) + Number(value) * width ** 2
      }
      return total
    },
    example: options => new AdapterFusionConfig(options),
    recommended: { learningRate: 1e-3 },
    oracle: 'adapterhub/fuse-dynamic',
  },
  can: {
    merge: false,
    mixedBatch: false,
    weightedSum: false,
    convertToLora: false,
    noOpAtInit: false,
    several: false,
  },
  needsOthers: true,
  layerKinds: ['Residual with bottleneck adapters'],
  configFromJson: AdapterFusionConfig.fromJson,
  format: () => HUB_FUSION,
  chooseModules: ({ adapterNames }, { tree }) => {
    if (adapterNames.length < 2) {
      throw new Error(
        'ADAPTER_FUSION mixes adapters that the model has: name at least two in adapterNames, or call addAdapterFusion(peft, [...])',
      )
    }
    const chosen = [...baseModules(tree)].filter(({ module }) => {
      const own = tunerAt(module, BottleneckLayer)?.adapterNames() ?? []
      return adapterNames.every(name => own.includes(name))
    })
    if (chosen.length === 0) {
      throw new Error(
        `ADAPTER_FUSION: no layer has bottleneck adapters called ${adapterNames.join(' and ')}; add them first`,
      )
    }
    return chosen.map(({ path }) => path)
  },
  wrap: ({ module, adapterName, config, random, model }) => {
    const layer = tunerAt(module, BottleneckLayer)
    if (!(layer?.original instanceof Residual)) return undefined
    const { attention_probs_dropout_prob: p = 0 } = (model.config ?? {}) as { attention_probs_dropout_prob?: number }
    layer.adapter_fusion_layer.set(adapterName, drawValues(new FusionLayer(config, layer.original.width, p), random))
    return layer
  },
  updateHook: ({ layers, adapterName }) => ({
    afterStep: () => {
      for (const layer of layers.values()) (layer as BottleneckLayer).adapter_fusion_layer.get(adapterName)?.cool()
    },
  }),
})

/**
 * Adds a fusion of adapters that the model has. Activate it with `setAdapter(Fuse('a', 'b'))`; adapters that were loaded
 * for inference stay as they are while it trains.
 *
 * @returns the fusion's name: `a,b`
 */
export function addAdapterFusion(
  peft: PeftModel,
  adapterNames: readonly string[],
  config: AdapterFusionConfig = new AdapterFusionConfig(),
  options: { seed?: number } = {},
): string {
  const name = adapterNames.join(',')
  peft.addAdapter(name, config.with({ adapterNames: [...adapterNames] }) as AdapterFusionConfig, options)
  return name
}

export { FusionLayer } from '../bottleneck/fusion-layer.ts'
export { AdapterFusionConfig, type AdapterFusionConfigOptions, StaticAdapterFusionConfig } from './config.ts'
