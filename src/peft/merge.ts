/** @file Merging: a plain model whose weights contain what the adapters add. */
import { Graph } from '../graph/index.ts'
import { type Module, Parameter } from '../nn/index.ts'
import { defaultEngine, floats } from '../runtime/index.ts'
import { ModulesToSaveWrapper } from './modules-to-save.ts'
import { TunerLayer } from './tuner-layer.ts'

/** What merging did to one parameter. */
export interface MergedParameter {
  name: string
  /** The largest absolute change of one of its elements. */
  largestChange: number
}

/**
 * Replaces every layer with adapters in `tree` by the plain module that computes the same, in place. The values of the
 * merged parameters are new arrays in memory: those of the original stay as they are.
 *
 * @throws when a merged value is NaN or infinite
 */
export async function mergeTree(tree: Module, adapters: readonly string[]): Promise<MergedParameter[]> {
  const report: MergedParameter[] = []
  // Innermost first: what several methods have wrapped is merged by one after the other.
  for (const [path, module] of [...tree.namedModules()].reverse()) {
    if (module instanceof ModulesToSaveWrapper) tree.setSubmodule(path, module.current)
    if (!(module instanceof TunerLayer)) continue
    const base = module.base_layer
    const own = adapters.filter(name => module.adapterNames().includes(name))
    if (own.length && module.mergedAdapters.length === 0) {
      for (const [name, data] of Object.entries(await mergedValues(module, own))) {
        const slot = base as unknown as Record<string, Parameter>
        const before = await slot[name].read()
        const fullName = path ? `${path}.${name}` : name
        report.push({ name: fullName, largestChange: largestDifference(before, data, fullName) })
        const merged = Parameter.from(data, slot[name].shape)
        merged.requiresGrad = slot[name].requiresGrad
        slot[name] = merged
      }
    }
    tree.setSubmodule(path, base)
  }
  tree.parameters()
  return report.reverse()
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

/** The largest absolute difference of two arrays. Throws where the second holds NaN or infinity. */
export function largestDifference(before: Float32Array, after: Float32Array, name: string): number {
  let largest = 0
  for (let i = 0; i < after.length; i++) {
    const difference = Math.abs(after[i] - before[i])
    if (!(difference <= Number.MAX_VALUE)) {
      throw new Error(
        `Merging would put ${after[i]} into "${name}"; the adapter or the base holds NaN or infinity. Nothing was merged.`,
      )
    }
    if (difference > largest) largest = difference
  }
  return largest
}
