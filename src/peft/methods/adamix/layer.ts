/** @file What stands in the place of a residual connection, or of a dense layer, with a mixture of experts. */
import { add, graphOf, matmul, mul, type Tensor, transpose } from '../../../graph/index.ts'
import { Conv1D, type Linear, ModuleDict, type Residual } from '../../../nn/index.ts'
import type { WrapContext } from '../../method.ts'
import { TunerLayer } from '../../tuner-layer.ts'
import type { AdaMixConfig } from './config.ts'
import {
  addTo,
  averageInto,
  type Chosen,
  chooseAverage,
  chooseRandomly,
  computeExpert,
  drawExperts,
  type ExpertParameters,
  type ExpertSizes,
  emptyAverage,
} from './experts.ts'
import { sizesOn } from './places.ts'

/** What both kinds of layers share. */
export abstract class AdaMixLayer<
  M extends Residual | Linear | Conv1D = Residual | Linear | Conv1D,
> extends TunerLayer<M> {
  /** The experts of each adapter, stacked; none where only their average was loaded. */
  adamix_experts = new ModuleDict<ExpertParameters>()
  /** Their average, which files hold: kept for files while there are experts, trained by itself where there are none. */
  adamix = new ModuleDict<ExpertParameters>()
  readonly configs: Record<string, AdaMixConfig> = {}

  /** The sizes of an expert of this layer. */
  sizes(): ExpertSizes {
    return sizesOn(this.original)
  }

  /** Adds an adapter with its first values. */
  addAdapter({ adapterName, config, random }: WrapContext<AdaMixConfig>): void {
    this.configs[adapterName] = config
    this.adamix_experts.set(adapterName, drawExperts(config, this.sizes(), random))
    this.adamix.set(adapterName, emptyAverage(config, this.sizes(), false))
  }

  override adapterNames(): string[] {
    return Object.keys(this.configs)
  }

  override deleteAdapter(name: string): void {
    delete this.configs[name]
    this.adamix_experts.delete(name)
    this.adamix.delete(name)
  }

  /** Works out the average as the experts are now. */
  average(name: string): void {
    const experts = this.adamix_experts.get(name)
    if (experts) averageInto(this.adamix.get(name)!, experts)
  }

  /** Leaves the average alone of an adapter's experts: it is computed, saved and trained further as one. */
  collapse(name: string): void {
    if (!this.adamix_experts.has(name)) return
    const average = emptyAverage(this.configs[name], this.sizes(), true)
    averageInto(average, this.adamix_experts.get(name)!)
    this.adamix.set(name, average)
    this.adamix_experts.delete(name)
  }

  /** The weights that compute an adapter in `graph`. */
  protected chosen(name: string, training: boolean): Chosen {
    const experts = this.adamix_experts.get(name)
    if (!experts) return Object.fromEntries(this.adamix.get(name)!.ownParameters())
    return training ? chooseRandomly(graphOf([]), experts) : chooseAverage(experts)
  }

  /** What the adapters make of `x`. */
  protected parts(adapters: readonly string[], x: Tensor): Tensor[] {
    const { graph } = x
    return graph.trace(() =>
      adapters.map(name => computeExpert(x, this.chosen(name, graph.training), this.configs[name])),
    )
  }
}

/** Adapters on the result of a feed-forward network, before it joins the residual stream. */
export class AdaMixAdapterLayer extends AdaMixLayer<Residual> {
  protected override adapt(adapters: readonly string[], result: Tensor, ...others: unknown[]): unknown {
    return this.base_layer.forward(addTo(result, this.parts(adapters, result)), ...(others as [Tensor]))
  }
}

/** LoRA beside a dense layer. */
export class AdaMixLoraLayer extends AdaMixLayer<Linear | Conv1D> {
  protected override adapt(adapters: readonly string[], x: Tensor): Tensor {
    return addTo(this.base_layer.forward(x), this.parts(adapters, x))
  }

  override mergedParameters(adapters: readonly string[]): Record<string, Tensor> {
    const own = adapters.filter(name => name in this.configs)
    if (own.length === 0) return {}
    const deltas = own.map(name => {
      const { down_weight, up_weight } = this.chosen(name, false)
      const { loraAlpha, r } = this.configs[name]
      const delta = mul(matmul(up_weight!, down_weight!), loraAlpha / r)
      return this.original instanceof Conv1D ? transpose(delta) : delta
    })
    return { weight: addTo(add(this.original.weight, 0), deltas) }
  }
}
