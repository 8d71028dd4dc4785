/** @file Fusions in AdapterHub's files. */
import { registerHubMethod } from '../../adapterhub/methods.ts'
import { type AdapterFormat, registerAdapterFormat } from '../../formats.ts'
import { AdapterFusionConfig } from './config.ts'
import { FUSION_CONFIG, HUB_FUSION } from './file-names.ts'

const FORMAT: AdapterFormat = {
  name: HUB_FUSION,
  recognizes: ({ files }) => files.includes(FUSION_CONFIG),
  readConfig: async folder => (await import('./files.ts')).readFusionConfig(folder),
  load: async (...given) => (await import('./files.ts')).loadFusion(...given),
  save: async (...given) => (await import('./files.ts')).saveFusion(...given),
}

registerAdapterFormat(FORMAT)

// A fusion has files of its own; what AdapterHub says of adapters is never one.
registerHubMethod<AdapterFusionConfig>({
  peftType: 'ADAPTER_FUSION',
  recognizes: () => false,
  fromHub: () => new AdapterFusionConfig(),
  toHub: () => ({}),
  // The temperature is a state of training: AdapterHub begins anew with it.
  keys: (_, own) => new Map([...own].filter(([, { isBuffer }]) => !isBuffer)),
})
