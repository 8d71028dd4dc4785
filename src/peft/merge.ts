/** @file Merging: a plain model whose weights contain what the adapters add. */
import { Graph } from '../graph/index.ts'
import { type Module, Parameter } from '../nn/index.ts'
import { defaultEngine, floats } from '../runtime/index.ts'
import { ModulesToSaveWrapper } from './modules-to-save.ts'
import { isStandIn } from './stand-in.ts'
import { ParameterTunerLayer, TunerLayer } from './tuner-layer.ts'

/** What merging did to one parameter. */
export interface MergedParameter {
  name: string
  /** The largest absolute change of one of its elements. */
  largestChange: number
}

/** How adapters are merged. */
export interface MergeOptions {
  /** Whether values that are NaN or infinite are refused (true); PEFT checks only when asked to. */
  safeMerge?: boolean
}

/**
 * Replaces every layer with adapters in `tree` by the plain module that computes the same, in place. The values of the
 * merged parameters are new arrays in memory: those of the original stay as they are.
 *
 * @throws when a merged value is NaN or infinite
 */
export async function mergeTree(
  tree: Module,
  adapters: readonly string[],
  options: MergeOptions = {},
): Promise<MergedParameter[]> {
  const merger = new LayerMerger(options)
  const changes = new Map<string, readonly MergedParameter[]>()
  for (const [path, layer] of mergeOrder(tree)) {
    const { report, before } = await merger.merge(layer, adapters, path)
    changes.set(path, report)
    renewAliases(tree, path, before, layer.original)
  }
  const report = inTreeOrder(tree, changes)
  takeWrappersOut(tree, adapters)
  return report
}

/** What merging did to the layers at some paths, in the order in which they stand in the tree. */
export function inTreeOrder(tree: Module, changes: ReadonlyMap<string, readonly MergedParameter[]>): MergedParameter[] {
  return [...tree.namedModules()].flatMap(([path]) => changes.get(path) ?? [])
}

/**
 * The layers with adapters of a tree in the order in which they are merged, so that the weights compute what the layers
 * did where several methods have wrapped a module. Layers that change parameters come first, outermost first: what lies
 * within them computes with the changed ones. The others add to what lies within them, so they follow innermost first.
 */
export function mergeOrder(tree: Module): [path: string, layer: TunerLayer][] {
  const layers = [...tree.namedModules()].filter(
    (entry): entry is [string, TunerLayer] => entry[1] instanceof TunerLayer,
  )
  const changes = ([, layer]: [string, TunerLayer]) => layer instanceof ParameterTunerLayer
  return [...layers.filter(changes), ...layers.filter(entry => !changes(entry)).reverse()]
}

/**
 * A module around a layer can hold the layer's parameter too, for a second name in checkpoints (the bias of BERT's
 * masked-token head): it holds the merged one then.
 */
function renewAliases(tree: Module, path: string, before: Readonly<Record<string, Parameter>>, layer: Module): void {
  const merged = new Map(layer.ownParameters().map(([name, parameter]) => [before[name], parameter]))
  for (let at = path; at !== ''; ) {
    at = at.slice(0, Math.max(at.lastIndexOf('.'), 0))
    const holder = tree.getSubmodule(at)
    for (const [name, parameter] of holder.ownParameters()) {
      const renewed = merged.get(parameter)
      if (renewed) Object.assign(holder, { [name]: renewed })
    }
  }
}

/** Replaces every layer with adapters in `tree` by the plain module under it, in place; nothing is merged. */
export function takeWrappersOut(tree: Module, adapters: readonly string[]): void {
  for (const [path, module] of [...tree.namedModules()].reverse()) {
    if (module instanceof ModulesToSaveWrapper) tree.setSubmodule(path, module.chosen(adapters))
    else if (module instanceof TunerLayer) tree.setSubmodule(path, module.base_layer)
    else if (isStandIn(module)) tree.setSubmodule(path, module.standsFor())
  }
  tree.parameters()
}

/** Merges adapters into the modules of layers, one after another. */
export class LayerMerger {
  readonly #check: boolean
  /** From a parameter to the merged one, so that what was tied and is merged alike stays tied. */
  readonly #tied = new Map<Parameter, Parameter>()

  constructor({ safeMerge = true }: MergeOptions) {
    this.#check = safeMerge
  }

  /**
   * Puts parameters with the adapters merged into them into the module that `layer` wraps.
   *
   * @returns what changed, and the parameters that stood there before, by name
   */
  async merge(
    layer: TunerLayer,
    adapters: readonly string[],
    path: string,
  ): Promise<{ report: MergedParameter[]; before: Record<string, Parameter> }> {
    const report: MergedParameter[] = []
    const before: Record<string, Parameter> = {}
    const own = adapters.filter(name => layer.adapterNames().includes(name))
    const values = own.length ? await mergedValues(layer, own) : {}
    const slots = layer.original as unknown as Record<string, Parameter>
    const merged: Record<string, Parameter> = {}
    for (const [name, data] of Object.entries(values)) {
      const original = slots[name]
      const fullName = path ? `${path}.${name}` : name
      const largestChange = largestDifference(await original.read(), data, this.#check ? fullName : undefined)
      report.push({ name: fullName, largestChange })
      merged[name] = this.#parameter(original, data)
    }
    for (const [name, parameter] of Object.entries(merged)) {
      before[name] = slots[name]
      slots[name] = parameter
    }
    return { report, before }
  }

  #parameter(original: Parameter, data: Float32Array): Parameter {
    const other = this.#tied.get(original)
    if (other?.data.every((value, i) => value === data[i])) return other
    const parameter = Parameter.from(data, original.shape, { requiresGrad: original.requiresGrad })
    this.#tied.set(original, parameter)
    return parameter
  }
}

/** The parameters of a layer's module with the adapters merged into them, as values. */
export async function mergedValues(
  layer: TunerLayer,
  adapters: readonly string[],
): Promise<Record<string, Float32Array>> {
  const graph = new Graph()
  const outputs = graph.trace(() => layer.mergedParameters(adapters))
  if (Object.keys(outputs).length === 0) return {}
  const engine = await defaultEngine()
  await using executable = await engine.compile(outputs, { mode: 'small' })
  const results = await executable.run({})
  return Object.fromEntries(Object.entries(results).map(([name, tensor]) => [name, floats(tensor)]))
}

/** The largest absolute difference of two arrays. With a name it throws where the second holds NaN or infinity. */
export function largestDifference(before: Float32Array, after: Float32Array, name?: string): number {
  let largest = 0
  for (let i = 0; i < after.length; i++) {
    const difference = Math.abs(after[i] - before[i])
    if (name !== undefined && !(difference <= Number.MAX_VALUE)) {
      throw new Error(
        `Merging would put ${after[i]} into "${name}"; the adapter or the base holds NaN or infinity. Nothing was merged.`,
      )
    }
    if (!(difference <= largest)) largest = difference
  }
  return largest
}
