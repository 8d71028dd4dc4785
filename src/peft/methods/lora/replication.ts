/** @file Layers that stand in the model several times, with shared weights and adapters of their own. */
import { Module, ModuleList } from '../../../nn/index.ts'
import type { PeftMethod } from '../../method.ts'
import type { StandIn } from '../../stand-in.ts'
import type { AdapterState } from '../../tuner-layer.ts'
import type { LoraConfig } from './config.ts'

/**
 * A model's layers, some of them several times: each copy shares its weights with the layer that it is of. While
 * adapters are disabled the layers are those of the model, as they were.
 */
export class ReplicatedLayers extends ModuleList implements StandIn {
  readonly adapterState: AdapterState
  /** The ranges of layers that stand here one after another. */
  readonly ranges: LoraConfig['layerReplication']
  /** The layers as they were, and how many adapters want them replicated. In an array, so that the tree shows them once. */
  readonly before: { layers: ModuleList; users: number }

  constructor(layers: ModuleList, ranges: NonNullable<LoraConfig['layerReplication']>, state: AdapterState) {
    super(ranges.flatMap(([start, end]) => [...layers].slice(start, end).map(sharingCopy)))
    this.adapterState = state
    this.ranges = ranges
    this.before = { layers, users: 1 }
  }

  /** The layers as they were, in a copy. */
  standsFor(): Module {
    return this.before.layers.clone()
  }

  override *[Symbol.iterator](): Generator<Module> {
    if (this.adapterState.disabled) yield* this.before.layers
    else yield* super[Symbol.iterator]()
  }
}

/** A copy of a module with the very parameters of the original. */
function sharingCopy(module: Module): Module {
  const copy = Object.create(Object.getPrototypeOf(module)) as Module
  for (const [name, value] of Object.entries(module)) {
    Object.assign(copy, { [name]: value instanceof Module ? sharingCopy(value) : value })
  }
  return copy
}

/** The list of layers of a model, as PEFT looks for it: `layers`, `encoder.layer` or `h` of the innermost model. */
function findLayers(tree: Module): { holder: Module; name: string; list: ModuleList } | undefined {
  let model = tree as Module & Record<string, unknown>
  for (const name of ['model', 'model', 'bert', 'roberta', 'transformer']) {
    if (model[name] instanceof Module) model = model[name] as typeof model
  }
  const encoder = model.encoder instanceof Module ? (model.encoder as typeof model) : undefined
  for (const [holder, name] of [
    [model, 'layers'],
    [encoder, 'layer'],
    [model, 'h'],
  ] as const) {
    if (holder?.[name] instanceof ModuleList) return { holder, name, list: holder[name] }
  }
  return undefined
}

/**
 * Replicates the model's layers for an adapter.
 *
 * @returns what puts them back, once no adapter wants them any more
 * @throws when the model has no list of layers, a range goes beyond it, or other adapters see the layers otherwise
 */
export const replicateLayers: NonNullable<PeftMethod<LoraConfig>['reshape']> = ({ config, model, state }) => {
  const found = findLayers(model.tree)
  const { layerReplication: ranges } = config
  const standing = found?.list instanceof ReplicatedLayers ? found.list : undefined
  if (standing) {
    if (JSON.stringify(ranges) !== JSON.stringify(standing.ranges)) {
      throw new Error(
        `Another adapter has replicated the layers of this model by ${JSON.stringify(standing.ranges)}, so every adapter on it needs that layerReplication, got ${JSON.stringify(ranges)}; put this adapter on a PeftModel of its own`,
      )
    }
    standing.before.users++
    return () => release(found!.holder, found!.name, standing)
  }
  if (!ranges) return undefined
  if (!found) {
    throw new Error(
      `layerReplication needs a model with a list of layers (layers, encoder.layer or h); ${model.base.constructor.name} has none`,
    )
  }
  const { holder, name, list } = found
  if ([...list].some(hasAdapters)) {
    throw new Error(
      'layerReplication must come with the first adapter of a model: this one has adapters on its layers already. Put the adapter on a PeftModel of its own.',
    )
  }
  const beyond = ranges.find(([, end]) => end > list.length)
  if (beyond) {
    throw new Error(
      `layerReplication: the range ${JSON.stringify(beyond)} goes beyond the ${list.length} layers of the model`,
    )
  }
  const replicated = new ReplicatedLayers(list, ranges, state)
  Object.assign(holder, { [name]: replicated })
  return () => release(holder, name, replicated)
}

function release(holder: Module, name: string, layers: ReplicatedLayers): void {
  layers.before.users--
  if (layers.before.users === 0) Object.assign(holder, { [name]: layers.before.layers })
}

const hasAdapters = (layer: Module) => [...layer.namedModules()].some(([, module]) => 'adapterState' in module)
