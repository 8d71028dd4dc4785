/** @file A module tree seen without its adapters: where each module of the base model stands now. */
import type { Module, Parameter } from '../nn/index.ts'
import { ModulesToSaveWrapper } from './modules-to-save.ts'
import { TunerLayer } from './tuner-layer.ts'

/** A module of the base model, or what stands in its place. */
export interface BaseModule {
  /** Its path in the base model. */
  path: string
  /** Its path in the tree with adapters. */
  at: string
  /** What stands there: the module, or its outermost wrapper. */
  module: Module
}

const join = (path: string, name: string) => (path ? `${path}.${name}` : name)

const isWrapper = (module: Module) => module instanceof TunerLayer || module instanceof ModulesToSaveWrapper

/** The property of a wrapper that holds what it wraps. */
const wrapped = (module: Module) => (module instanceof TunerLayer ? 'base_layer' : 'original_module')

/** The module of the base model under all wrappers. */
export function unwrapped(module: Module): Module {
  while (isWrapper(module)) module = (module as unknown as Record<string, Module>)[wrapped(module)]
  return module
}

/** The modules of the base model, parents first; what adapters brought along is left out. */
export function* baseModules(tree: Module, path = '', at = ''): Generator<BaseModule> {
  yield { path, at, module: tree }
  let inner = tree
  while (isWrapper(inner)) {
    const name = wrapped(inner)
    at = join(at, name)
    inner = (inner as unknown as Record<string, Module>)[name]
  }
  for (const [name, child] of inner.children()) yield* baseModules(child, join(path, name), join(at, name))
}

/**
 * Every place that holds a parameter, with the name it would have were its module's own wrapper the only one: what
 * other methods have put around it, or around a module that holds it, does not show.
 */
export function* canonicalSlots(tree: Module, path = ''): Generator<[string, Parameter]> {
  for (const [name, parameter] of tree.ownParameters()) yield [join(path, name), parameter]
  for (const [name, child] of tree.children()) {
    const hides =
      tree instanceof TunerLayer && name === 'base_layer' && (isWrapper(child) || child.children().length > 0)
    yield* canonicalSlots(child, hides ? path : join(path, name))
  }
}
