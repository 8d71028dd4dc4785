/** @file What state adapters are in, layer by layer and as a whole, with PEFT's fields. */
import { type Module, ModuleDict, type Parameter, ParameterDict } from '../nn/index.ts'
import { hostOf } from './hosts.ts'
import { PeftModel } from './model.ts'
import { ModulesToSaveWrapper } from './modules-to-save.ts'
import { TunerLayer } from './tuner-layer.ts'

/** Whether all of some are so, none are, or it differs. */
export type Consistent = boolean | 'irregular'

/** The state of one layer with adapters. */
export interface TunerLayerStatus {
  /** Its path, without `base_model`. */
  name: string
  /** The class of the layer. */
  moduleType: string
  /** Whether adapters take part in the computation. */
  enabled: boolean
  activeAdapters: string[]
  mergedAdapters: string[]
  /** For each adapter whether its parameters train. */
  requiresGrad: Record<string, Consistent>
  availableAdapters: string[]
  /** For each adapter where its parameters are; here always the processor. */
  devices: Record<string, string[]>
  quantizationBackend: string | null
}

/** The state of all adapters of a model. */
export interface TunerModelStatus {
  baseModelType: string
  adapterModelType: string
  /** The method of each adapter. */
  peftTypes: Record<string, string>
  trainableParams: number
  totalParams: number
  numAdapterLayers: number
  enabled: Consistent
  activeAdapters: string[] | 'irregular'
  mergedAdapters: string[] | 'irregular'
  requiresGrad: Record<string, Consistent>
  availableAdapters: string[]
  devices: Record<string, string[]>
  quantizationBackend: string | null | 'irregular'
}

/**
 * The state of each layer with adapters.
 *
 * @param model one with adapters on it, or in it
 * @throws when there is no such layer
 */
export function getLayerStatus(model: Module): TunerLayerStatus[] {
  const tree = model instanceof PeftModel ? model.base_model : model
  const status: TunerLayerStatus[] = []
  for (const [name, module] of tree.namedModules()) {
    if (module instanceof TunerLayer || module instanceof ModulesToSaveWrapper) status.push(statusOf(name, module))
  }
  if (status.length === 0) {
    throw new Error(
      `getLayerStatus: ${model.constructor.name} has no layers with adapters; put some on it with getPeftModel or injectAdapterInModel`,
    )
  }
  return status
}

function statusOf(name: string, module: TunerLayer | ModulesToSaveWrapper): TunerLayerStatus {
  const available = module.adapterNames().sort()
  const parameters = parametersByAdapter(module, available)
  const { active, disabled } = module.adapterState
  return {
    name,
    moduleType: module.constructor.name,
    enabled: !disabled,
    activeAdapters: [...active],
    mergedAdapters: module instanceof TunerLayer ? [...module.mergedAdapters] : [],
    requiresGrad: mapValues(parameters, own => consistent(own.map(({ requiresGrad }) => requiresGrad))),
    availableAdapters: available,
    devices: mapValues(parameters, () => ['cpu']),
    quantizationBackend: null,
  }
}

/** The parameters that a layer holds for each of its adapters. */
function parametersByAdapter(layer: Module, adapters: readonly string[]): Map<string, Parameter[]> {
  const found = new Map(adapters.map(name => [name, [] as Parameter[]]))
  const search = (module: Module) => {
    for (const [property, child] of module.children()) {
      if (property === 'base_layer' || property === 'original_module') continue
      if (!(child instanceof ModuleDict || child instanceof ParameterDict)) {
        search(child)
        continue
      }
      for (const [name, own] of found) {
        const held = child.get(name)
        if (held) own.push(...('parameters' in held ? held.parameters() : [held]))
      }
    }
  }
  search(layer)
  return found
}

/**
 * The state of all adapters of a model; `irregular` where layers differ.
 *
 * @throws when it has no layers with adapters
 */
export function getModelStatus(model: Module): TunerModelStatus {
  const layers = getLayerStatus(model)
  const host = model instanceof PeftModel ? model : hostOf(model)
  const base = model instanceof PeftModel ? model.getBaseModel() : model
  const parameters = model.parameters()
  const size = (list: readonly Parameter[]) => list.reduce((sum, parameter) => sum + parameter.size, 0)
  const names = [...new Set(layers.flatMap(({ availableAdapters }) => availableAdapters))].sort()
  const merged = [...new Set(layers.flatMap(({ mergedAdapters }) => mergedAdapters))].sort()
  const isPartlyMerged = layers.some(({ availableAdapters, mergedAdapters, moduleType }) => {
    // What is trained as a whole takes part without being merged.
    if (moduleType === ModulesToSaveWrapper.name) return false
    return availableAdapters.some(name => merged.includes(name) && !mergedAdapters.includes(name))
  })
  const requiresGrad = names.map(name => {
    const found = layers.flatMap(status => (name in status.requiresGrad ? status.requiresGrad[name] : []))
    return [name, new Set(found).size === 1 ? found[0] : 'irregular'] as const
  })
  const active = new Set(layers.map(({ activeAdapters }) => activeAdapters.join()))
  return {
    baseModelType: base.constructor.name,
    adapterModelType: host?.constructor.name ?? 'None',
    peftTypes: Object.fromEntries((host?.adapterNames() ?? []).map(name => [name, host!.configOf(name).peftType])),
    trainableParams: size(parameters.filter(parameter => parameter.requiresGrad)),
    totalParams: size(parameters),
    numAdapterLayers: layers.length,
    enabled: consistent(layers.map(({ enabled }) => enabled)),
    activeAdapters: active.size === 1 ? layers[0].activeAdapters : 'irregular',
    mergedAdapters: isPartlyMerged ? 'irregular' : merged,
    requiresGrad: Object.fromEntries(requiresGrad),
    availableAdapters: names,
    devices: Object.fromEntries(names.map(name => [name, ['cpu']])),
    quantizationBackend: null,
  }
}

function consistent(values: readonly boolean[]): Consistent {
  if (values.every(Boolean)) return true
  return values.some(Boolean) ? 'irregular' : false
}

const mapValues = <T, R>(map: ReadonlyMap<string, T>, change: (value: T) => R): Record<string, R> =>
  Object.fromEntries([...map].map(([name, value]) => [name, change(value)]))
