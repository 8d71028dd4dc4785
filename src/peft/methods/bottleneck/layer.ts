/** @file What stands in the place of a residual connection, or of a dense layer, with bottleneck adapters. */
import { add, concat, mul, slice, type Tensor } from '../../../graph/index.ts'
import { type Linear, ModuleDict, type Residual } from '../../../nn/index.ts'
import { type Composer, type Composition, compose, lastAdapter } from '../../composition.ts'
import type { WrapContext } from '../../method.ts'
import { TunerLayer } from '../../tuner-layer.ts'
import { BottleneckAdapter, type SublayerState } from './adapter.ts'
import { type BnConfig, bottleneckWidth } from './config.ts'
import type { FusionLayer } from './fusion-layer.ts'
import { drawValues } from './init.ts'
import type { PhmShared } from './phm.ts'

/** Where the layers' shared parameters stand on a PeftModel. */
export const SHARED_PARAMETERS = 'base_model.shared_parameters'

/** What both kinds of layers share: adapters by name. */
abstract class AdapterLayer<M extends Residual | Linear> extends TunerLayer<M> {
  adapters = new ModuleDict<BottleneckAdapter>()
  /** What the adapters' layers share through the whole model. */
  shared_parameters = new ModuleDict<PhmShared>()

  /** Adds an adapter with its first values. */
  addAdapter({ adapterName, config, random, shared, layerIndex }: WrapContext<BnConfig>): void {
    const { input, output } = this.widths(config)
    const bottleneck = bottleneckWidth(config, output, layerIndex)
    this.adapters.set(adapterName, drawValues(new BottleneckAdapter(config, { input, bottleneck, output }), random))
    const common = shared[SHARED_PARAMETERS]
    if (common) this.shared_parameters.set(adapterName, common as PhmShared)
  }

  protected abstract widths(config: BnConfig): { input: number; output: number }

  override adapterNames(): string[] {
    return this.adapters.keys()
  }

  override deleteAdapter(name: string): void {
    this.adapters.delete(name)
    this.shared_parameters.delete(name)
  }
}

/** What runs through a composition: {@link SublayerState}, and what the adapters made of it. */
interface Flow extends SublayerState {
  /** The result before the adapter chose what to read of it. */
  raw: Tensor
  /** What an adapter adds to its own result. */
  residual: Tensor
  /** The scaled up-projection of the adapter before. */
  up?: Tensor
}

/** Adapters between a sublayer and the residual stream that it joins. */
export class BottleneckLayer extends AdapterLayer<Residual> {
  /** Fusions of adapters of this layer, by name. */
  adapter_fusion_layer = new ModuleDict<FusionLayer>()

  override adapterNames(): string[] {
    return [...super.adapterNames(), ...this.adapter_fusion_layer.keys()]
  }

  override deleteAdapter(name: string): void {
    super.deleteAdapter(name)
    this.adapter_fusion_layer.delete(name)
  }

  protected override widths() {
    const { width } = this.original
    return { input: width, output: width }
  }

  /** Adapters one after another: each reads the result of the one before, as in AdapterHub's stack. */
  protected override adapt(
    names: readonly string[],
    result: Tensor,
    input: Tensor,
    norm?: SublayerState['norm'],
  ): Tensor {
    const state = { result, input, norm }
    let current = state
    for (const name of names) {
      const adapter = this.adapters.get(name)!
      const { output } = adapter.forward(adapter.before(current), this.shared_parameters.get(name))
      current = { ...state, result: output }
    }
    return this.adapters.get(names.at(-1)!)!.after(current.result, state)
  }

  protected override adaptComposed(
    composition: Composition,
    result: Tensor,
    input: Tensor,
    norm?: SublayerState['norm'],
  ): Tensor {
    const state = { result, input, norm }
    const end = compose<Flow>(composition, { ...state, raw: result, residual: result }, this.composer())
    return this.adapters.get(lastAdapter(composition))!.after(end.result, state)
  }

  /** How the blocks of a composition work here, as AdapterHub computes them. */
  private composer(): Composer<Flow> {
    const adapter = (name: string) => this.adapters.get(name)!
    return {
      name: 'bottleneck adapters',
      blocks: ['stack', 'fuse', 'split', 'batchSplit', 'parallel', 'average'],
      before: (name, flow) => {
        const { x, residual } = adapter(name).before(flow)
        return { ...flow, raw: flow.result, result: x, residual }
      },
      apply: (name, flow) => {
        const { output, up } = adapter(name).forward({ x: flow.result, residual: flow.residual }, this.sharedOf(name))
        return { ...flow, result: output, up }
      },
      size: (flow, axis) => flow.result.shape[axis],
      slice: (flow, axis, start, end) => ofTensors([flow], ([tensor]) => slice(tensor, axis, start, end)),
      join: (flows, axis) => ofTensors(flows, parts => concat(parts, axis)),
      average: (flows, weights) =>
        ofTensors(flows, parts => {
          const terms = parts.map((part, i) => mul(part, weights[i] / parts.length))
          return terms.reduce((sum, term) => add(sum, term))
        }),
      fuse: (name, flows, before) => {
        const fusion = this.adapter_fusion_layer.get(name)
        if (!fusion) throw new Error(`fuse: there is no fusion "${name}" in this layer; add it with addAdapterFusion`)
        const { input, raw, residual, result: x } = before
        const isParallel = adapter(name.slice(name.lastIndexOf(',') + 1)).config.isParallel
        const query = fusion.config.queryBeforeLn && !isParallel ? raw : isParallel ? input : x
        const ups = flows.map(({ up }) => up!)
        // What parallel adapters add to the sublayer's result is mixed with the residual stream.
        return { ...before, result: fusion.forward(query, ups, isParallel ? input : residual) }
      },
    }
  }

  private sharedOf(name: string): PhmShared | undefined {
    return this.shared_parameters.get(name)
  }
}

/** A flow whose tensors come from those of others. */
function ofTensors(flows: readonly Flow[], make: (tensors: readonly Tensor[]) => Tensor): Flow {
  const [first] = flows
  const of = (read: (flow: Flow) => Tensor) => make(flows.map(read))
  return {
    norm: first.norm,
    result: of(flow => flow.result),
    input: of(flow => flow.input),
    raw: of(flow => flow.raw),
    residual: of(flow => flow.residual),
    ...(flows.every(({ up }) => up) && { up: of(flow => flow.up!) }),
  }
}

/** Adapters on the result of a dense layer, `y = h + A(h)`, or beside it, `y = h + A(x)`. */
export class BottleneckLinear extends AdapterLayer<Linear> {
  protected override widths({ isParallel }: BnConfig) {
    const { inFeatures, outFeatures } = this.original
    return { input: isParallel ? inFeatures : outFeatures, output: outFeatures }
  }

  protected override adapt(names: readonly string[], x: Tensor): Tensor {
    let result = this.base_layer.forward(x) as Tensor
    for (const name of names) {
      const adapter = this.adapters.get(name)!
      const { isParallel } = adapter.config
      const given = { x: isParallel ? x : result, residual: result }
      const { output } = adapter.forward(given, this.shared_parameters.get(name))
      result = isParallel ? add(result, output) : output
    }
    return result
  }
}
