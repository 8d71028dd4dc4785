/** @file Putting an adapter into a module tree. */
import type { Module } from '../nn/index.ts'
import { Random } from '../util/random.ts'
import type { PeftConfig } from './config.ts'
import { getPeftMethod, type TargetOptions } from './method.ts'
import { ModulesToSaveWrapper } from './modules-to-save.ts'
import { type ResolveTargetOptions, resolveTargets } from './targets.ts'
import type { AdapterState } from './tuner-layer.ts'

/** What {@link injectAdapter} needs beside the tree and the configuration. */
export interface InjectOptions extends ResolveTargetOptions {
  adapterName: string
  state: AdapterState
  modelType: string
  seed: number
  /** Modules to save that were added by the library and may be absent. */
  optionalModulesToSave: readonly string[]
}

/**
 * Wraps the target modules of `tree` in place and returns their paths.
 *
 * @throws when no targets are known for the model type, a target is of a kind that the method cannot work on, or a
 *   module to save does not exist
 */
export function injectAdapter(tree: Module, config: PeftConfig & TargetOptions, options: InjectOptions): string[] {
  const method = getPeftMethod(config.peftType)
  const { adapterName, state, modelType, seed } = options
  const targets = config.targetModules ?? method.defaultTargetModules(modelType)
  if (targets === undefined || targets === null) {
    throw new Error(
      `${config.peftType} has no default target modules for the model type "${modelType}"; name them with targetModules, for example "all-linear"`,
    )
  }
  config.targetModules = targets
  method.complete?.(config, modelType)
  const paths = resolveTargets(tree, targets, config, options)
  method.validate?.(config, paths)
  for (const path of paths) {
    const module = tree.getSubmodule(path)
    const random = Random.forName(`${adapterName}:${path}`, seed)
    const layer = method.wrap({ module, path, adapterName, config, state, random })
    if (!layer) {
      throw new Error(
        `${config.peftType} cannot work on "${path}", a ${module.constructor.name}; it works on ${method.layerKinds.join(', ')}`,
      )
    }
    if (layer !== module) tree.setSubmodule(path, layer)
  }
  for (const name of config.modulesToSave ?? []) saveModule(tree, name, options)
  return paths
}

/** Gives the adapter its own copy of every module whose path ends with `name`. */
function saveModule(tree: Module, name: string, { adapterName, state, optionalModulesToSave }: InjectOptions): void {
  const found = [...tree.namedModules()].filter(([path]) => path === name || path.endsWith(`.${name}`))
  const outermost = found.filter(([path]) => !path.includes('modules_to_save') && !path.includes('original_module'))
  if (outermost.length === 0 && !optionalModulesToSave.includes(name)) {
    const names = [...new Set([...tree.namedModules()].map(([path]) => path.slice(path.lastIndexOf('.') + 1)))]
    throw new Error(
      `modulesToSave: no module is called "${name}"; the modules of this model are called ${names.filter(n => n && !/^\d+$/.test(n)).join(', ')}`,
    )
  }
  for (const [path, module] of outermost) {
    let wrapper = module
    if (!(wrapper instanceof ModulesToSaveWrapper)) {
      wrapper = new ModulesToSaveWrapper(module, state)
      tree.setSubmodule(path, wrapper)
    }
    ;(wrapper as ModulesToSaveWrapper).addAdapter(adapterName)
  }
}
