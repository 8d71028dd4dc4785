/** @file Prefix tuning in AdapterHub's files. */
import {
  type HubJson,
  hubOptionNames,
  hubOptions,
  optionsFromHub,
  registerHubMethod,
} from '../../adapterhub/methods.ts'
import { hubName } from '../../adapterhub/places.ts'
import type { ModelFacts } from '../../method.ts'
import { AdapterHubPrefixConfig, HUB_PREFIX_OPTIONS } from './config.ts'
import { attentionPlaces } from './places.ts'

const NAMES = hubOptionNames(Object.keys(HUB_PREFIX_OPTIONS))
const FLOATS = new Set(['dropout'])

/** The prefixes of an adapter, wherever they stand: in the base model, or in the pool of an attention layer. */
const TUNINGS = /^(?:.*\.)?prefix_tunings\.(?=[^.]+\.)/

/**
 * The prefixes under the one name that they have among the model's parameters, in its first attention layer. AdapterHub
 * has them in the base model and in every attention layer, and writes them as often.
 */
function parameterName(key: string, model: ModelFacts): string {
  if (!TUNINGS.test(key)) return key
  const [{ path }] = attentionPlaces(model)
  return hubName(key.replace(TUNINGS, `${path}.prefix_tuning.pool.prefix_tunings.`), model)
}

registerHubMethod<AdapterHubPrefixConfig>({
  peftType: 'ADAPTERHUB_PREFIX',
  recognizes: ({ architecture }) => architecture === 'prefix_tuning',
  fromHub: (config: HubJson) => new AdapterHubPrefixConfig(optionsFromHub(config, NAMES)),
  toHub: config => ({ ...hubOptions(config, NAMES, FLOATS), architecture: 'prefix_tuning' }),
  keys: ({ model }, own) => new Map([...own].map(([key, parameter]) => [parameterName(key, model), parameter])),
  canonicalKey: (key, { model }) => parameterName(key, model),
})
