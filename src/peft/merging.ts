/** @file Merging in place: adapters become part of the weights of a model's own tree, and come out again. */
import type { Module } from '../nn/index.ts'
import { inTreeOrder, LayerMerger, type MergedParameter, type MergeOptions, mergeOrder } from './merge.ts'
import type { PeftModel } from './model.ts'
import { type AdapterState, changed, type TunerLayer } from './tuner-layer.ts'

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

/**
 * The adapters to merge, once it is clear that they can be.
 *
 * @param adapterNames by default the active ones
 * @throws when there are none, or a method cannot be merged
 */
export function mergeable(model: PeftModel, adapterNames = model.activeAdapters): readonly string[] {
  if (adapterNames.length === 0) throw new Error('There is nothing to merge: no adapter is active; name those to merge')
  for (const name of adapterNames) {
    const adapter = model.adapter(name)
    const { method } = adapter
    if (!method.can.merge) {
      throw new Error(
        `${method.about.title} cannot be merged: the effect of "${name}" is not a change of weights. Keep the adapter beside the model.`,
      )
    }
    method.checkMerge?.(adapter)
  }
  return adapterNames
}

/** What is merged into the weights of one model. */
export class Merging {
  /** The adapters that are merged now, in the order in which they were. */
  adapters: readonly string[] = []
  readonly #tree: Module
  readonly #state: AdapterState
  #activeBefore: readonly string[] = []

  constructor(tree: Module, state: AdapterState) {
    this.#tree = tree
    this.#state = state
  }

  /** Merges adapters beside those that are merged already; all of them are the active ones from then on. */
  async merge(adapterNames: readonly string[], options: MergeOptions): Promise<readonly MergedParameter[]> {
    const adapters = [...new Set([...this.adapters, ...adapterNames])]
    if (adapters.length === this.adapters.length)
      refuseMerged(this.adapters, `Merging ${adapters.join(', ')} again changes nothing; it cannot be done`)
    // What stands around a layer merges after it: all are merged anew, in their order.
    const remerge = unmergeInPlace(this.#tree)
    try {
      const report = await mergeInPlace(this.#tree, adapters, options)
      if (this.adapters.length === 0) this.#activeBefore = this.#state.active
      this.adapters = adapters
      this.#state.active = adapters
      return report
    } catch (cause) {
      remerge()
      throw cause
    } finally {
      changed(this.#state)
    }
  }

  /** Takes all out again; what was active before is active again. */
  unmerge(): void {
    if (this.adapters.length === 0)
      throw new Error('There is nothing to unmerge: no adapter is merged into the weights')
    unmergeInPlace(this.#tree)
    this.adapters = []
    this.#state.active = this.#activeBefore
    changed(this.#state)
  }

  /** A copy of the tree in which nothing is merged. */
  plainCopy(): Module {
    const remerge = unmergeInPlace(this.#tree)
    try {
      return this.#tree.clone()
    } finally {
      remerge()
    }
  }
}
