/** @file Bottleneck adapters in AdapterHub's files. */
import {
  type HubJson,
  hubOptionNames,
  hubOptions,
  optionsFromHub,
  registerHubMethod,
} from '../../adapterhub/methods.ts'
import { BN_OPTIONS, BnConfig } from './config.ts'

const NAMES = hubOptionNames(Object.keys(BN_OPTIONS), {
  factorizedPhmW: 'factorized_phm_W',
  sharedWPhm: 'shared_W_phm',
})
const FLOATS = new Set(['dropout', 'phmInitRange', 'scaling', 'stochasticDepth'])
/** What every file has; the others have defaults, because older files lack them. */
const REQUIRED = ['mh_adapter', 'output_adapter', 'reduction_factor', 'non_linearity']

registerHubMethod<BnConfig>({
  peftType: 'BOTTLENECK',
  recognizes: config => (config.architecture ?? null) === null && 'mh_adapter' in config,
  fromHub(config: HubJson, label: string): BnConfig {
    const missing = REQUIRED.filter(key => !(key in config))
    if (missing.length) {
      throw new Error(`${label}: the options of a bottleneck adapter lack ${missing.map(key => `"${key}"`).join(', ')}`)
    }
    return new BnConfig(optionsFromHub(config, NAMES))
  },
  toHub: config => hubOptions(config, NAMES, FLOATS),
  // The adapter's own normalisation is also the first entry of the list that the down-projection stands in.
  canonicalKey: (key, { config: { lnBefore } }) =>
    lnBefore ? key.replace(/\.adapter_down\.0\.(weight|bias)$/, '.adapter_norm_before.$1') : key,
})
