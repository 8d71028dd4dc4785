/** @file AdapterHub's file format. */
import { type AdapterFormat, registerAdapterFormat } from '../formats.ts'

/** The name of the format, which methods give. */
export const ADAPTERHUB = 'adapterhub'

/** The files of AdapterHub's `adapters` library. */
export const ADAPTERHUB_FORMAT: AdapterFormat = {
  name: ADAPTERHUB,
  recognizes: ({ config }) =>
    typeof config === 'object' &&
    config !== null &&
    'config' in config &&
    ('model_class' in config || 'model_type' in config) &&
    !('peft_type' in config),
  readConfig: async folder => (await import('./load.ts')).readHubConfig(folder),
  load: async (...given) => (await import('./load.ts')).loadHubAdapter(...given),
  save: async (...given) => (await import('./save.ts')).saveHubAdapter(...given),
}

registerAdapterFormat(ADAPTERHUB_FORMAT)
