/** @file Putting an adapter into a module tree. */
import { type Module, ModuleDict, Parameter, ParameterDict } from '../nn/index.ts'
import { Random } from '../util/random.ts'
import { baseModules, unwrapped } from './adapted-tree.ts'
import type { PeftConfig } from './config.ts'
import { layerNumbers } from './layer-numbers.ts'
import { type AdapterContext, getPeftMethod, type ModelFacts, type PeftMethod, type TargetOptions } from './method.ts'
import { ModulesToSaveWrapper } from './modules-to-save.ts'
import { type ResolveTargetOptions, refuseNoDefault, resolveTargets } from './targets.ts'
import { type AdapterState, TunerLayer } from './tuner-layer.ts'

/** What {@link injectAdapter} needs beside the tree and the configuration. */
export interface InjectOptions extends ResolveTargetOptions {
  adapterName: string
  state: AdapterState
  model: ModelFacts
  seed: number
  /** Modules to save that were added by the library and may be absent. */
  optionalModulesToSave: readonly string[]
  /** Where {@link PeftMethod.shared} puts what it makes: the root of paths like `base_model.vera_A`. */
  root: Module
}

/** An adapter that stands in a tree. */
export interface InjectedAdapter extends AdapterContext {
  method: PeftMethod
  /** The paths of the target modules in the base model. */
  targets: readonly string[]
  /** Undoes what {@link PeftMethod.reshape} did. */
  restore?: () => void
  /** What stands in the place of the modules that are saved whole with it, by their paths in the base model. */
  saved: ReadonlyMap<string, ModulesToSaveWrapper>
}

/**
 * Wraps the target modules of the model's tree in place.
 *
 * @throws when no targets are known for the model type, a target is of a kind that the method cannot work on, or a
 *   module to save does not exist
 */
export function injectAdapter(config: PeftConfig & TargetOptions, options: InjectOptions): InjectedAdapter {
  const method = getPeftMethod(config.peftType)
  const { adapterName, model, state } = options
  method.complete?.(config, model)
  const restore = method.reshape?.({ adapterName, config, model, state })
  try {
    return injectInto(config, options, { method, restore })
  } catch (cause) {
    restore?.()
    throw cause
  }
}

function injectInto(
  config: PeftConfig & TargetOptions,
  options: InjectOptions,
  { method, restore }: Pick<InjectedAdapter, 'method' | 'restore'>,
): InjectedAdapter {
  const { adapterName, model, seed, root } = options
  const targets = chooseTargets(method, config, options)
  method.validate?.(config, targets, model)
  const random = (name: string) => Random.forName(`${adapterName}:${name}`, seed)
  const shared = method.shared?.({ adapterName, config, model, targets, random }) ?? {}
  for (const [path, value] of Object.entries(shared)) place(root, path, adapterName, value)
  try {
    return wrapTargets(config, options, { method, restore, targets, shared, random })
  } catch (cause) {
    removeShared(root, adapterName, Object.keys(shared))
    throw cause
  }
}

interface Prepared extends Pick<InjectedAdapter, 'method' | 'restore' | 'targets' | 'shared'> {
  random(name: string): Random
}

function wrapTargets(
  config: PeftConfig & TargetOptions,
  options: InjectOptions,
  { method, restore, targets, shared, random }: Prepared,
): InjectedAdapter {
  const { adapterName, state, model } = options
  const { tree } = model
  const layers = new Map<string, TunerLayer>()
  const layerIndexOf = layerNumbers(model.base)
  const standing = new Map([...baseModules(tree)].map(({ path, at, module }) => [path, { at, module }]))
  for (const path of targets) {
    const { at, module } = standing.get(path)!
    const layerIndex = layerIndexOf(path)
    const layer = method.wrap?.({
      module,
      path,
      layerIndex,
      adapterName,
      config,
      state,
      random: random(path),
      model,
      shared,
    })
    if (!layer && module instanceof ModulesToSaveWrapper) {
      const names = module.adapterNames().map(name => `"${name}"`)
      throw new Error(
        `${config.peftType} cannot work on "${path}", which the adapter ${names.join(', ')} trains as a whole (modulesToSave): ` +
          `leave it out with excludeModules or other targetModules, or train it whole here too, with modulesToSave.`,
      )
    }
    if (!layer) {
      throw new Error(
        `${config.peftType} cannot work on "${path}", a ${unwrapped(module).constructor.name}; it works on ${method.layerKinds.join(', ')}`,
      )
    }
    layer.layerIndex = layerIndex
    layers.set(path, layer)
    if (layer === module || isAround(module, layer)) continue
    tree.setSubmodule(at, layer)
    // What lies below has moved with it.
    for (const moved of baseModules(tree)) standing.set(moved.path, moved)
  }
  const saved = new Map((config.modulesToSave ?? []).flatMap(name => saveModule(tree, name, options)))
  const injected = { adapterName, config, model, shared, layers, state, method, targets, restore, saved }
  method.attached?.(injected)
  return injected
}

/** Whether `layer` is already among the wrappers that `module` consists of. */
function isAround(module: Module, layer: TunerLayer): boolean {
  while (module instanceof TunerLayer) {
    if (module === layer) return true
    module = module.base_layer
  }
  return false
}

function chooseTargets(
  method: PeftMethod,
  config: PeftConfig & TargetOptions,
  options: InjectOptions,
): readonly string[] {
  const { model } = options
  if (method.chooseModules) return method.chooseModules(config, model)
  if (!method.wrap) return []
  const targets = config.targetModules ?? method.defaultTargetModules?.(model.modelType)
  if (targets === undefined || targets === null) {
    refuseNoDefault(config.peftType, model)
  }
  config.targetModules = targets
  // Targets that only name parameters inside modules are the method's own affair.
  const named = targets.length === 0 ? [] : resolveTargets(model.tree, targets, config, options)
  return method.adjustTargets?.(config, model, named) ?? named
}

/** Puts something that an adapter owns into the dictionary at `path`, under the adapter's name. */
function place(root: Module, path: string, adapterName: string, value: Module | Parameter): void {
  const at = path.lastIndexOf('.')
  const holder = root.getSubmodule(path.slice(0, Math.max(at, 0))) as unknown as Record<string, unknown>
  const name = path.slice(at + 1)
  holder[name] ??= value instanceof Parameter ? new ParameterDict() : new ModuleDict()
  const dictionary = holder[name]
  if (value instanceof Parameter && dictionary instanceof ParameterDict) dictionary.set(adapterName, value)
  else if (!(value instanceof Parameter) && dictionary instanceof ModuleDict) dictionary.set(adapterName, value)
  else throw new Error(`"${path}" cannot hold what the adapter "${adapterName}" shares: something else stands there`)
}

/** Removes what {@link injectAdapter} placed; a dictionary that nothing is left in goes too. */
export function removeShared(root: Module, adapterName: string, paths: Iterable<string>): void {
  for (const path of paths) {
    const at = path.lastIndexOf('.')
    const holder = root.getSubmodule(path.slice(0, Math.max(at, 0))) as unknown as Record<string, unknown>
    const name = path.slice(at + 1)
    const dictionary = holder[name] as ModuleDict | ParameterDict | undefined
    dictionary?.delete(adapterName)
    if (dictionary?.keys().length === 0) delete holder[name]
  }
}

/** Gives the adapter its own copy of every module whose path ends with `name`, in wrappers by these paths. */
function saveModule(
  tree: Module,
  name: string,
  { adapterName, state, optionalModulesToSave }: InjectOptions,
): [string, ModulesToSaveWrapper][] {
  const found = [...baseModules(tree)].filter(({ path }) => path === name || path.endsWith(`.${name}`))
  if (found.length === 0 && !optionalModulesToSave.includes(name)) {
    const names = [...new Set([...baseModules(tree)].map(({ path }) => path.slice(path.lastIndexOf('.') + 1)))]
    throw new Error(
      `modulesToSave: no module is called "${name}"; the modules of this model are called ${names.filter(n => n && !/^\d+$/.test(n)).join(', ')}`,
    )
  }
  return found.map(({ path, at, module }) => {
    const wrapper = module instanceof ModulesToSaveWrapper ? module : new ModulesToSaveWrapper(module, state)
    if (wrapper !== module) tree.setSubmodule(at, wrapper)
    wrapper.addAdapter(adapterName)
    return [path, wrapper]
  })
}
