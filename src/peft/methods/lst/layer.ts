/** @file What stands in the place of a layer beside which a rung of a ladder stands, or of the last normalisation. */
import type { Graph, Tensor } from '../../../graph/index.ts'
import type { AttentionContext } from '../../../models/attention-context.ts'
import { ModuleDict } from '../../../nn/index.ts'
import { type AdapterRows, type AdapterState, chooseRows, TunerLayer } from '../../tuner-layer.ts'
import type { LadderTop, Rung } from './side.ts'

/** The side networks' states on their way up, for each trace and model, by adapter. */
const states = new WeakMap<Graph, WeakMap<AdapterState, Map<string, Tensor>>>()

function statesOf(graph: Graph, model: AdapterState): Map<string, Tensor> {
  let models = states.get(graph)
  if (!models) states.set(graph, (models = new WeakMap()))
  let own = models.get(model)
  if (!own) models.set(model, (own = new Map()))
  return own
}

/** Computes the module as it is, and the side networks of adapters beside it. */
export class LadderLayer extends TunerLayer {
  /** A rung for each adapter that has one here. */
  lst_rung = new ModuleDict<Rung>()
  /** The top of each adapter's side network, if this is where the last hidden state comes from. */
  lst_top = new ModuleDict<LadderTop>()

  /** How far back queries see, where the module in whose place this stands says so. */
  get window(): number | undefined {
    return (this.base_layer as { window?: number }).window
  }

  override adapterNames(): string[] {
    return [...new Set([...this.lst_rung.keys(), ...this.lst_top.keys()])]
  }

  override deleteAdapter(name: string): void {
    this.lst_rung.delete(name)
    this.lst_top.delete(name)
  }

  protected override adapt(adapters: readonly string[], input: Tensor, ...others: unknown[]): Tensor {
    const output = this.base_layer.forward(input, ...others) as Tensor
    this.climb(adapters, input, output, others)
    const replacing = adapters.find(name => this.lst_top.get(name)?.replaces)
    if (replacing !== undefined && adapters.length > 1) {
      throw new Error(
        `LST: "${replacing}" replaces the model's last hidden state, so it cannot be active together with ${adapters.filter(name => name !== replacing).join(', ')}; activate one of them`,
      )
    }
    return adapters.reduce((result, name) => this.finish(name, result), output)
  }

  /** The module is computed once; each row takes the result of its own adapter's side network. */
  protected override adaptRows({ index, names }: AdapterRows, input: Tensor, ...others: unknown[]): unknown {
    const own = new Set(this.adapterNames())
    const output = this.base_layer.forward(input, ...others) as Tensor
    this.climb(
      names.filter(name => own.has(name)),
      input,
      output,
      others,
    )
    return names.reduce<unknown>((result, name, i) => {
      return this.lst_top.has(name) ? chooseRows(index, i + 1, this.finish(name, output), result) : result
    }, output)
  }

  private climb(adapters: readonly string[], input: Tensor, output: Tensor, [context]: unknown[]): void {
    const below = statesOf(output.graph, this.adapterState)
    for (const name of adapters) {
      const rung = this.lst_rung.get(name)
      if (rung) below.set(name, rung.forward(below.get(name), input, output, context as AttentionContext))
    }
  }

  private finish(name: string, hidden: Tensor): Tensor {
    const top = this.lst_top.get(name)
    const own = statesOf(hidden.graph, this.adapterState)
    const state = own.get(name)
    // No rung stands where all layers are skipped.
    if (!top || !state) return hidden
    own.delete(name)
    return top.forward(state, hidden)
  }
}
