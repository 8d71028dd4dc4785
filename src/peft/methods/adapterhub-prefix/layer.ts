/** @file An attention layer with prefixes: keys and values that every query sees in front of the layer's own. */
import { type Dim, expand, mul, slice, type Tensor, unsqueeze } from '../../../graph/index.ts'
import type { AttentionContext, AttentionModule } from '../../../models/attention-context.ts'
import type { PreTrainedModel } from '../../../models/index.ts'
import { KeyValueCache, type KeyValues, type Linear, Module, ModuleDict } from '../../../nn/index.ts'
import { hiddenSize } from '../../adapterhub/files.ts'
import { drawMissing, randomFor } from '../../adapterhub/first-values.ts'
import { averagedGate, createGate } from '../../adapterhub/gate.ts'
import { type Composition, compose } from '../../composition.ts'
import type { WrapContext } from '../../method.ts'
import { type AdapterRows, chooseRows, TunerLayer } from '../../tuner-layer.ts'
import { type PrefixFlow, prefixComposer } from './composer.ts'
import type { AdapterHubPrefixConfig } from './config.ts'
import type { PrefixPool } from './pool.ts'

/** Where the prefixes of an adapter stand on a PeftModel. */
export const PREFIX_TUNINGS = 'base_model.prefix_tunings'

/** Which of a pool's keys and values a layer takes. */
interface PrefixPlace {
  group: string
  index: number
}

/** What AdapterHub calls `prefix_tuning` in an attention layer. */
class PrefixTuning extends Module {
  prefix_gates = new ModuleDict<Linear>()
  pool = new ModuleDict<ModuleDict<PrefixPool>>({ prefix_tunings: new ModuleDict<PrefixPool>() })

  /** The prefixes by the names of adapters. */
  get tunings(): ModuleDict<PrefixPool> {
    return this.pool.get('prefix_tunings')!
  }

  forward(): never {
    throw new Error('PrefixTuning only holds prefixes and gates; call the layer that it belongs to')
  }
}

/** Stands in the place of an attention layer. The prefix of a later adapter stands in front of those before it. */
export class PrefixLayer extends TunerLayer<AttentionModule> {
  prefix_tuning = new PrefixTuning()
  /** By adapter. */
  readonly places: Record<string, PrefixPlace> = {}

  /** Adds an adapter with the first values of its gates. */
  addAdapter(context: WrapContext<AdapterHubPrefixConfig>, place: PrefixPlace): void {
    const { adapterName, config, path, random, shared, model } = context
    this.places[adapterName] = place
    this.prefix_tuning.tunings.set(adapterName, shared[PREFIX_TUNINGS] as PrefixPool)
    if (!config.useGating) return
    const gate = createGate(hiddenSize(model.base as PreTrainedModel)!, config.sharedGating ? 1 : 2)
    this.prefix_tuning.prefix_gates.set(adapterName, drawMissing(gate, randomFor(config.initWeightsSeed, path, random)))
  }

  override adapterNames(): string[] {
    return Object.keys(this.places)
  }

  override deleteAdapter(name: string): void {
    delete this.places[name]
    this.prefix_tuning.tunings.delete(name)
    this.prefix_tuning.prefix_gates.delete(name)
  }

  /**
   * The keys and values of an adapter, `[batch, heads, length, width]`.
   *
   * @param hidden what enters the attention, `[batch, sequence, hidden]`, which the gate reads
   */
  prefixOf(name: string, hidden: Tensor): KeyValues {
    const { group, index } = this.places[name]
    const { key, value } = this.prefix_tuning.tunings.get(name)!.get(group)!.forward(index)
    const gate = this.prefix_tuning.prefix_gates.get(name)
    if (!gate) return { key: inRows(key, hidden.shape[0]), value: inRows(value, hidden.shape[0]) }
    const gates = averagedGate(gate, hidden)
    const [first, last] = [0, gate.outFeatures - 1].map(i => unsqueeze(slice(gates, 2, i, i + 1), [3]))
    return { key: mul(key, first), value: mul(value, last) }
  }

  protected override adapt(
    names: readonly string[],
    hidden: Tensor,
    context: AttentionContext,
    ...others: unknown[]
  ): Tensor {
    const own = names.map(name => this.prefixOf(name, hidden)).reverse()
    const prefixes = [...own, ...(context.prefixes ?? [])]
    return this.base_layer.forward(hidden, { ...context, prefixes }, ...others)
  }

  protected override adaptComposed(
    composition: Composition,
    hidden: Tensor,
    context: AttentionContext,
    ...others: unknown[]
  ): Tensor {
    const composer = prefixComposer((name, rows) => this.prefixOf(name, rows))
    const own = compose<PrefixFlow>(composition, { hidden, prefixes: [] }, composer)
    const prefixes = [...own.prefixes, ...(context.prefixes ?? [])]
    return this.base_layer.forward(hidden, { ...context, prefixes }, ...others)
  }

  protected override adaptRows(
    { index, names }: AdapterRows,
    hidden: Tensor,
    context: AttentionContext,
    ...others: unknown[]
  ): unknown {
    let result: unknown = this.base_layer.forward(hidden, context, ...others)
    for (const [i, name] of names.entries()) {
      if (!(name in this.places)) continue
      // The layer's own keys and values are the same for all adapters: they are left in the cache once.
      const { cache } = context
      const reading = { ...context, cache: cache && new KeyValueCache(cache.past, cache.cross, cache.continues) }
      result = chooseRows(index, i + 1, this.adapt([name], hidden, reading, ...others), result)
    }
    return result
  }
}

function inRows(x: Tensor, batch: Dim): Tensor {
  return expand(x, [batch, ...x.shape.slice(1)])
}
