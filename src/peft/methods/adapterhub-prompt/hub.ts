/** @file Prompt tuning in AdapterHub's files. */
import {
  type HubJson,
  hubOptionNames,
  hubOptions,
  optionsFromHub,
  registerHubMethod,
} from '../../adapterhub/methods.ts'
import { AdapterHubPromptConfig, HUB_PROMPT_OPTIONS } from './config.ts'

const NAMES = hubOptionNames(Object.keys(HUB_PROMPT_OPTIONS))

registerHubMethod<AdapterHubPromptConfig>({
  peftType: 'ADAPTERHUB_PROMPT',
  recognizes: ({ architecture }) => architecture === 'prompt_tuning',
  fromHub: (config: HubJson) => new AdapterHubPromptConfig(optionsFromHub(config, NAMES)),
  toHub: config => ({ ...hubOptions(config, NAMES, new Set()), architecture: 'prompt_tuning' }),
})
