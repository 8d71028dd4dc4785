/** @file Prefix tuning as AdapterHub computes it: registration. */
import { AttentionModule } from '../../../models/attention-context.ts'
import type { PreTrainedModel } from '../../../models/index.ts'
import type { Module } from '../../../nn/index.ts'
import { averagedConfig, averageParameters } from '../../adapterhub/average.ts'
import { hiddenSize } from '../../adapterhub/files.ts'
import { drawMissing, randomFor } from '../../adapterhub/first-values.ts'
import { ADAPTERHUB } from '../../adapterhub/format.ts'
import { type AdapterContext, type ModelFacts, registerPeftMethod } from '../../method.ts'
import { originalOf, tunerAt } from '../../tuner-layer.ts'
import { AdapterHubPrefixConfig } from './config.ts'
import './hub.ts'
import { PREFIX_TUNINGS, PrefixLayer } from './layer.ts'
import { choosePrefixPlaces, prefixGroups } from './places.ts'
import { keyValueWidth, PrefixPool } from './pool.ts'

registerPeftMethod<AdapterHubPrefixConfig>({
  peftType: 'ADAPTERHUB_PREFIX',
  about: {
    title: 'AdapterHub prefix tuning',
    family: 'additive',
    formula: 'attention over [P_K; K] and [P_V; V], P = W₂ f(W₁ E + b₁) + b₂ or trained as it is; positions stay',
    paper: 'arXiv 2101.00190',
    parameters: 'P H + (H + 1) B + (B + 1) 2 L K a group: prefix, hidden and inner width, layers, width of the keys',
    count: countPrefixes,
    example: options => new AdapterHubPrefixConfig({ prefixLength: 4, bottleneckSize: 16, ...options }),
    recommended: { learningRate: 1e-3 },
    oracle: 'adapterhub/prefix_tuning-bert',
  },
  can: {
    merge: false,
    mixedBatch: 'each',
    weightedSum: true,
    convertToLora: false,
    noOpAtInit: false,
    several: true,
  },
  layerKinds: [AttentionModule.name],
  // A gate is averaged over the sequence.
  readsWhole: ({ useGating }) => useGating,
  configFromJson: AdapterHubPrefixConfig.fromJson,
  format: () => ADAPTERHUB,
  chooseModules: choosePrefixPlaces,
  shared: ({ config, model, targets, random }) => {
    const pool = new PrefixPool(config, prefixGroups(targets, model), hiddenSize(model.base as PreTrainedModel)!)
    return {
      [PREFIX_TUNINGS]: drawMissing(pool, randomFor(config.initWeightsSeed, PREFIX_TUNINGS, random(PREFIX_TUNINGS))),
    }
  },
  wrap: context => {
    const { module, state, path, shared } = context
    if (!(originalOf(module) instanceof AttentionModule)) return undefined
    const layer = tunerAt(module, PrefixLayer) ?? new PrefixLayer(module as AttentionModule, state)
    for (const [group, prefixes] of (shared[PREFIX_TUNINGS] as PrefixPool).prefixes()) {
      const index = prefixes.group.paths.indexOf(path)
      if (index >= 0) layer.addAdapter(context, { group, index })
    }
    return layer
  },
  beforeLoad: matchForm,
  combinedConfig: context => averagedConfig(context),
  combine: context => averageParameters(context),
})

/** Takes over from a file whether there is a network: AdapterHub's ejected prefixes are flat, and their options say no. */
function matchForm({ config, shared }: AdapterContext<AdapterHubPrefixConfig>, shapes: ReadonlyMap<string, unknown>) {
  const keys = [...shapes.keys()]
  const flat = keys.some(key => key.endsWith('.control_trans'))
  if (flat === config.flat || !(flat || keys.some(key => key.includes('.control_trans.')))) return
  config.flat = flat
  for (const [, prefixes] of (shared[PREFIX_TUNINGS] as PrefixPool).prefixes()) prefixes.become(flat)
}

/** The number of trained values, from the widths of the attention layers. */
function countPrefixes(
  { flat, prefixLength: length, bottleneckSize: inner, useGating, sharedGating }: AdapterHubPrefixConfig,
  targets: ReadonlyMap<string, Module>,
  model: ModelFacts,
): number {
  const hidden = hiddenSize(model.base as PreTrainedModel)!
  const gates = useGating ? targets.size * (hidden + 1) * (sharedGating ? 1 : 2) : 0
  return [...prefixGroups(targets.keys(), model).values()]
    .map(keyValueWidth)
    .map(width => (flat ? length * width : length * hidden + (hidden + 1) * inner + (inner + 1) * width))
    .reduce((sum, count) => sum + count, gates)
}

export { AdapterHubFlatPrefixConfig, AdapterHubPrefixConfig, type AdapterHubPrefixConfigOptions } from './config.ts'
export { ejectPrefixTuning } from './eject.ts'
export { PrefixLayer } from './layer.ts'
