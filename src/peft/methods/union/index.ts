/** @file Unions of AdapterHub's methods: registration. */
import type { Module, Parameter } from '../../../nn/index.ts'
import { averagedConfig, averageParameters } from '../../adapterhub/average.ts'
import { ADAPTERHUB } from '../../adapterhub/format.ts'
import { type Entered, registerPeftMethod } from '../../method.ts'
import { AdapterHubLoraConfig } from '../adapterhub-lora/index.ts'
import { AdapterHubPrefixConfig } from '../adapterhub-prefix/index.ts'
import { SeqBnConfig } from '../bottleneck/index.ts'
import { UnionConfig } from './config.ts'
import './hub.ts'
import { MAMConfig, UniPELTConfig } from './named-configs.ts'
import { contextOf, type Part, partsByPath, partsOf, targetsOf } from './parts.ts'

/** The part that works on each module, by the configuration of one adapter. */
const places = new WeakMap<UnionConfig, ReadonlyMap<string, Part>>()

registerPeftMethod<UnionConfig>({
  peftType: 'ADAPTERHUB_UNION',
  about: {
    title: 'AdapterHub union (MAM, UniPELT)',
    family: 'hybrid',
    formula: 'the parts’ own, each in its places; UniPELT with a learnt gate on each',
    paper: 'arXiv 2110.04366 (MAM), arXiv 2110.07577 (UniPELT)',
    parameters: 'those of the parts',
    count: (config, targets, model) =>
      partsOf(config).reduce((sum, part) => {
        const own = new Set(targetsOf(part, model))
        const modules = new Map([...targets].filter(([path]) => own.has(path)))
        return sum + part.method.about.count(part.config, modules, model)
      }, 0),
    example: options =>
      new UnionConfig({
        configs: [
          new AdapterHubPrefixConfig({ prefixLength: 4, bottleneckSize: 16, useGating: true }),
          new SeqBnConfig({ reductionFactor: 4, useGating: true }),
          new AdapterHubLoraConfig({ r: 4, alpha: 2, useGating: true }),
        ],
        ...options,
      }),
    recommended: { learningRate: 1e-3 },
    oracle: 'adapterhub/unipelt-bert',
    presets: {
      mam: { title: 'MAM adapter (arXiv 2110.04366)', create: () => new MAMConfig() },
      unipelt: { title: 'UniPELT (arXiv 2110.07577)', create: () => new UniPELTConfig() },
    },
  },
  can: {
    merge: false,
    mixedBatch: 'each',
    weightedSum: true,
    convertToLora: false,
    noOpAtInit: false,
    several: true,
  },
  layerKinds: [],
  readsWhole: config => partsOf(config).some(({ method, config: part }) => method.readsWhole?.(part)),
  configFromJson: UnionConfig.fromJson,
  format: () => ADAPTERHUB,
  complete: (config, model) => {
    for (const { method, config: part } of partsOf(config)) method.complete?.(part, model)
  },
  chooseModules: (config, model) => {
    const byPath = partsByPath(config, model)
    places.set(config, byPath)
    return [...byPath.keys()]
  },
  validate: (config, targets, model) => {
    for (const part of partsOf(config)) {
      const own = new Set(targetsOf(part, model))
      part.method.validate?.(
        part.config,
        targets.filter(path => own.has(path)),
        model,
      )
    }
  },
  shared: context => {
    const shared: Record<string, Module | Parameter> = {}
    for (const part of partsOf(context.config)) {
      const targets = targetsOf(part, context.model)
      for (const [path, value] of Object.entries(
        part.method.shared?.({ ...context, config: part.config, targets }) ?? {},
      )) {
        if (path in shared) {
          throw new Error(
            `UnionConfig: two parts keep something of their own at "${path}", the second is ${part.config.constructor.name}; add it as an adapter of its own`,
          )
        }
        shared[path] = value
      }
    }
    return shared
  },
  wrap: context => {
    const { config, method } = places.get(context.config)!.get(context.path)!
    return method.wrap!({ ...context, config })
  },
  attached: context => {
    for (const part of partsOf(context.config)) part.method.attached?.(contextOf(context, part))
  },
  enter: (inputs, context) => {
    const leaves: NonNullable<Entered['leave']>[] = []
    for (const part of partsOf(context.config)) {
      if (!part.method.enter) continue
      if (inputs.adapter_indices && !part.method.can.mixedBatch) {
        throw new Error(
          `${part.config.peftType} changes what enters the model and cannot differ from row to row; leave it out of the union, or run each adapter by itself`,
        )
      }
      const entered = part.method.enter(inputs, { ...contextOf(context, part), graph: context.graph })
      inputs = entered.inputs
      if (entered.leave) leaves.unshift(entered.leave)
    }
    return { inputs, leave: output => leaves.reduce((result, leave) => leave(result), output) }
  },
  combinedConfig: context => averagedConfig(context),
  combine: context => averageParameters(context),
  beforeLoad: (context, shapes) => {
    for (const part of partsOf(context.config)) part.method.beforeLoad?.(contextOf(context, part), shapes)
  },
  afterLoad: async (context, values) => {
    const remarks: string[] = []
    for (const part of partsOf(context.config)) {
      const remark = await part.method.afterLoad?.(contextOf(context, part), values)
      if (remark !== undefined) remarks.push(remark)
    }
    return remarks.length ? remarks.join('; ') : undefined
  },
})

export { UnionConfig, type UnionConfigOptions, type UnionPart } from './config.ts'
export { MAMConfig, type MAMConfigOptions, UniPELTConfig, type UniPELTConfigOptions } from './named-configs.ts'
