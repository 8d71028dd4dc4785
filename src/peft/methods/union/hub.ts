/** @file Unions in AdapterHub's files: what each part's own method makes of them. */
import { configFromHub, type HubJson, hubMethod, registerHubMethod } from '../../adapterhub/methods.ts'
import { UnionConfig } from './config.ts'
import { contextOf, partsOf } from './parts.ts'

registerHubMethod<UnionConfig>({
  peftType: 'ADAPTERHUB_UNION',
  recognizes: ({ architecture }) => architecture === 'union',
  fromHub: ({ configs, architecture: _, ...unknownKeys }: HubJson, label: string) => {
    if (!Array.isArray(configs)) {
      throw new Error(`${label}: "configs" of a union must be a list of configurations, got ${JSON.stringify(configs)}`)
    }
    const union = new UnionConfig({ configs: configs.map((part, i) => configFromHub(part, `${label}: configs[${i}]`)) })
    union.unknownKeys = unknownKeys
    return union
  },
  toHub: ({ configs, unknownKeys }) => ({
    ...unknownKeys,
    architecture: 'union',
    configs: configs.map(part => hubMethod(part.peftType).toHub(part)),
  }),
  keys: (adapter, own) =>
    partsOf(adapter.config).reduce(
      (keys, part) => hubMethod(part.config.peftType).keys?.(contextOf(adapter, part), keys) ?? keys,
      new Map(own),
    ),
  canonicalKey: (key, adapter) =>
    partsOf(adapter.config).reduce(
      (name, part) => hubMethod(part.config.peftType).canonicalKey?.(name, contextOf(adapter, part)) ?? name,
      key,
    ),
})
