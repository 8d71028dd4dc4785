/** @file A module tree seen without its adapters: where each module of the base model stands now. */
import { type Module, ModuleDict, type Parameter, ParameterDict } from '../nn/index.ts'
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

/** What {@link canonicalSlots} leaves out, and what it gives in the place of merged parameters. */
interface SlotOptions {
  /** Names of adapters whose parameters are left out. */
  without?: ReadonlySet<string>
  /** From merged parameters to those that stood there before. */
  unmerged?: ReadonlyMap<Parameter, Parameter>
}

/** Whether a layer that shows nesting is among the wrappers that `module` consists of. */
function wrapsNesting(module: Module): boolean {
  while (isWrapper(module)) {
    if (module instanceof TunerLayer && module.showsNesting) return true
    module = (module as unknown as Record<string, Module>)[wrapped(module)]
  }
  return false
}

/**
 * Every place that holds a parameter, with the name it would have were its module's own wrapper the only one: what
 * other methods have put around it, or around a module that holds it, does not show, nor does merging.
 */
export function* canonicalSlots(
  tree: Module,
  path = '',
  { without, unmerged }: SlotOptions = {},
): Generator<[string, Parameter]> {
  // Adapters stand in dictionaries: a parameter that is called as one of them is none of its.
  const isOther = (name: string) =>
    (tree instanceof ModuleDict || tree instanceof ParameterDict) && without?.has(name) === true
  for (const [name, parameter] of tree.ownParameters()) {
    if (!isOther(name)) yield [join(path, name), unmerged?.get(parameter) ?? parameter]
  }
  for (const [name, child] of tree.children()) {
    if (isOther(name)) continue
    const isBase = tree instanceof TunerLayer && name === 'base_layer'
    const hides =
      isBase && (isWrapper(child) || child.children().length > 0) && !(tree.showsNesting && wrapsNesting(child))
    yield* canonicalSlots(child, hides ? path : join(path, name), {
      without,
      unmerged: isBase ? beforeMerging(tree, unmerged) : unmerged,
    })
  }
}

/** Adds what a layer's merging replaced; of several layers around a module the innermost merged first. */
function beforeMerging(
  layer: TunerLayer,
  outer: ReadonlyMap<Parameter, Parameter> | undefined,
): ReadonlyMap<Parameter, Parameter> | undefined {
  if (layer.mergedAdapters.length === 0) return outer
  const slots = layer.original as unknown as Record<string, Parameter>
  return new Map([
    ...(outer ?? []),
    ...Object.entries(layer.unmerged).map(([name, before]) => [slots[name], before] as const),
  ])
}
