/** @file Merging in place: adapters become part of the weights of a model's own tree, and come out again. */
import type { Module } from '../nn/index.ts'
import { inTreeOrder, LayerMerger, type MergedParameter, type MergeOptions, mergeOrder } from './merge.ts'
import { type AdapterState, changed, type TunerLayer } from './tuner-layer.ts'

/** The adapters that are merged into some layer of a tree, in the order in which they were. */
export function mergedAdapters(tree: Module): string[] {
  return [...new Set(mergeOrder(tree).flatMap(([, layer]) => layer.mergedAdapters))]
}

/**
 * Merges adapters into the modules of `tree`, whose parameters before are kept. Either all layers are merged, or, when
 * it fails, none.
 *
 * @throws when a merged value is NaN or infinite
 */
export async function mergeInPlace(
  tree: Module,
  adapters: readonly string[],
  options: MergeOptions,
): Promise<MergedParameter[]> {
  const changes = new Map<string, readonly MergedParameter[]>()
  const merger = new LayerMerger(options)
  try {
    for (const [path, layer] of mergeOrder(tree)) {
      const own = adapters.filter(name => layer.adapterNames().includes(name))
      if (own.length === 0) continue
      const { report, before } = await merger.merge(layer, own, path)
      layer.mergedAdapters = own
      layer.unmerged = before
      changes.set(path, report)
    }
  } catch (cause) {
    unmergeInPlace(tree)
    throw cause
  }
  return inTreeOrder(tree, changes)
}

/**
 * Puts back the very parameters that stood in the modules before merging: nothing is subtracted, so nothing is lost.
 *
 * @returns a function that merges the same adapters again, without computing anything
 */
export function unmergeInPlace(tree: Module): () => void {
  const undone: { layer: TunerLayer; adapters: readonly string[]; merged: TunerLayer['unmerged'] }[] = []
  for (const [, layer] of mergeOrder(tree).reverse()) {
    if (layer.mergedAdapters.length === 0) continue
    const slots = layer.original as unknown as Record<string, unknown>
    const merged = Object.fromEntries(Object.keys(layer.unmerged).map(name => [name, slots[name]]))
    undone.push({ layer, adapters: layer.mergedAdapters, merged: merged as TunerLayer['unmerged'] })
    Object.assign(slots, layer.unmerged)
    layer.mergedAdapters = []
    layer.unmerged = {}
  }
  return () => {
    for (const { layer, adapters, merged } of undone.reverse()) {
      const slots = layer.original as unknown as Record<string, unknown>
      layer.unmerged = Object.fromEntries(Object.keys(merged).map(name => [name, slots[name]])) as typeof layer.unmerged
      layer.mergedAdapters = adapters
      Object.assign(slots, merged)
    }
  }
}

/** Refuses what makes no sense while adapters are merged, with the way out. */
export function refuseMerged(merged: readonly string[], what: string): void {
  if (merged.length === 0) return
  const names = merged.map(name => `"${name}"`).join(', ')
  throw new Error(
    `${what} while ${names} ${merged.length > 1 ? 'are' : 'is'} merged into the weights; call unmergeAdapter() first, or take a plain model with mergeAndUnload()`,
  )
}

/** Which adapters are merged into a model's weights now, and which were active before. */
export interface Merged {
  adapters: readonly string[]
  activeBefore: readonly string[]
}

/** Ends a change of what is merged: the state says which adapters compute. */
export function activate(state: AdapterState, active: readonly string[]): void {
  state.active = active
  changed(state)
}
