/** @file What methods that train chosen entries have in common: putting layers in place, choosing, files. */
import type { Parameter } from '../../nn/index.ts'
import type { PeftConfig } from '../config.ts'
import type { AdapterContext, PeftMethod, PreparationTools, WrapContext } from '../method.ts'
import { withoutTies } from '../token-adapter.ts'
import { originalOf, tunerAt } from '../tuner-layer.ts'
import { empiricalFisher, type FisherOptions } from './fisher.ts'
import { allEntries, chosenEntries, reservedEntries, type SparseEntries, SparseLayer } from './layer.ts'
import { allocate, largestEntries, type MaskScope } from './selection.ts'
import {
  type SparsePlace,
  type SparseTargetOptions,
  sparsePlaces,
  trainedSlots,
  withFurtherModules,
} from './targets.ts'

/** A configuration of a method that trains chosen entries. */
export type SparseConfig = PeftConfig & SparseTargetOptions

/** How many entries are trained, and of what the share is taken. */
export interface MaskBudget {
  share: number
  scope: MaskScope
}

type Context = AdapterContext<SparseConfig>

/** Gives an adapter its layer in the place of a module; undefined for modules without parameters of their own. */
export function wrapSparse({ module, state, adapterName, config }: WrapContext<SparseConfig>): SparseLayer | undefined {
  if (trainedSlots(originalOf(module), config).length === 0) return undefined
  const layer = tunerAt(module, SparseLayer) ?? new SparseLayer(module, state)
  layer.addAdapter(adapterName, config.peftType)
  return layer
}

function fill(place: SparsePlace, adapterName: string, entries: SparseEntries | undefined): void {
  for (const { layer, slot } of place.holders) layer.place(adapterName, slot, entries)
}

function setReady({ layers, adapterName }: Context): void {
  for (const layer of layers.values()) (layer as SparseLayer).ready[adapterName] = true
}

/** Makes room for as many entries as will be trained; which ones they are comes later. */
export function reserveEntries(context: Context, { share, scope }: MaskBudget): void {
  const places = sparsePlaces(context, context.config)
  const counts = allocate(
    places.map(({ parameter }) => parameter.size),
    share,
    scope,
  )
  for (const [i, place] of places.entries()) {
    fill(place, context.adapterName, reservedEntries(counts[i], place.parameter.shape))
  }
}

/** Lets an adapter train all entries. */
export function trainAllEntries(context: Context): void {
  for (const place of sparsePlaces(context, context.config)) {
    fill(place, context.adapterName, allEntries(place.parameter))
  }
  setReady(context)
}

/** Lets an adapter train the entries with the largest Fisher information, beginning with the values of the base. */
export async function chooseByFisher(
  context: Context,
  tools: PreparationTools,
  { share, scope, ...options }: MaskBudget & FisherOptions,
): Promise<void> {
  const places = sparsePlaces(context, context.config)
  const fisher = await empiricalFisher(new Map(places.map(({ name, parameter }) => [name, parameter])), tools, options)
  const scores = places.map(({ name }) => fisher.get(name)!)
  const counts = allocate(
    places.map(({ parameter }) => parameter.size),
    share,
    scope,
  )
  const total = counts.reduce((sum, count) => sum + count, 0)
  const chosen =
    scope === 'global' ? largestEntries(scores, total) : scores.flatMap((own, i) => largestEntries([own], counts[i]))
  for (const [i, place] of places.entries()) {
    const { parameter } = place
    const entries = chosenEntries(chosen[i], await parameter.read(), parameter.shape)
    fill(place, context.adapterName, entries)
  }
  setReady(context)
}

/** The hooks for files, which hold the entries and not the model. */
export const SPARSE_FILES: Pick<
  PeftMethod<SparseConfig>,
  'stateDict' | 'savesEmbeddings' | 'beforeLoad' | 'checkMerge' | 'adjustTargets'
> = {
  adjustTargets: withFurtherModules,
  savesEmbeddings: () => false,

  stateDict(context, own) {
    return requireReady(context, 'saved', own)
  },

  checkMerge(context) {
    requireReady(context, 'merged', new Map())
  },

  beforeLoad(context, shapes) {
    for (const place of sparsePlaces(context, context.config)) {
      const [{ layer, slot }] = place.holders
      // Where all entries are trained there is nothing to make room for.
      if (layer.trainsAll(context.adapterName, slot)) continue
      const path = place.name.slice(0, -slot.length)
      const shape = shapes.get(`base_model.model.${path}sparse_values.${slot}`)
      fill(place, context.adapterName, reservedEntries(shape?.[0] ?? 0, place.parameter.shape))
    }
    setReady(context)
  },
}

function requireReady(
  { layers, adapterName, config }: Context,
  what: string,
  own: ReadonlyMap<string, Parameter>,
): Map<string, Parameter> {
  if ([...layers.values()].some(layer => !(layer as SparseLayer).ready[adapterName])) {
    throw new Error(
      `${config.peftType}: the adapter "${adapterName}" cannot be ${what}, it has not chosen its weights yet; train it with the Trainer, or call await prepareAdapters(peft, batches)`,
    )
  }
  return withoutTies(own)
}
