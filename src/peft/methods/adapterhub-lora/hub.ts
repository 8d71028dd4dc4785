/** @file LoRA and its kin in AdapterHub's files. */
import {
  type HubJson,
  hubOptionNames,
  hubOptions,
  optionsFromHub,
  registerHubMethod,
} from '../../adapterhub/methods.ts'
import { AdapterHubLoraConfig, HUB_LORA_OPTIONS } from './config.ts'

const NAMES = hubOptionNames(Object.keys(HUB_LORA_OPTIONS))
const FLOATS = new Set(['dropout', 'veraB', 'veraD'])

registerHubMethod<AdapterHubLoraConfig>({
  peftType: 'ADAPTERHUB_LORA',
  recognizes: ({ architecture }) => architecture === 'lora',
  fromHub: (config: HubJson) => new AdapterHubLoraConfig(optionsFromHub(config, NAMES)),
  toHub: config => ({ ...hubOptions(config, NAMES, FLOATS), architecture: 'lora' }),
})
