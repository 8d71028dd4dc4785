/** @file (IA)3's layer: one learned factor for each output, or for each input, of a dense layer (arXiv 2205.05638). */
import { mul, reshape, type Tensor, transpose } from '../../../graph/index.ts'
import { Conv1D, type Linear, normalInit, onesInit, Parameter, ParameterDict } from '../../../nn/index.ts'
import type { WrapContext } from '../../method.ts'
import { fullMatch } from '../../pattern.ts'
import { type AdapterRows, type AdapterState, TunerLayer } from '../../tuner-layer.ts'
import { ones, RowStack } from '../stacks.ts'
import type { IA3Config } from './config.ts'

/** A dense layer whose output is multiplied by a vector, `l * (W x + b)`, or whose input is, `W (l * x) + b`. */
export class IA3Layer extends TunerLayer<Linear | Conv1D> {
  /** `[out, 1]`, or `[1, in]` where the input is scaled, for each adapter. */
  ia3_l = new ParameterDict()
  /** Whether the input is scaled. */
  readonly isFeedforward: boolean

  constructor(base: Linear | Conv1D, state: AdapterState, isFeedforward: boolean) {
    super(base, state)
    this.isFeedforward = isFeedforward
  }

  /** Adds an adapter with its first values. */
  addAdapter({ adapterName, config, random }: WrapContext<IA3Config>): void {
    const { inFeatures, outFeatures } = this.original
    const shape = this.isFeedforward ? [1, inFeatures] : [outFeatures, 1]
    const init = config.initIa3Weights ? onesInit : normalInit(1)
    this.ia3_l.set(adapterName, Parameter.from(init(random, shape), shape))
  }

  override adapterNames(): string[] {
    return this.ia3_l.keys()
  }

  override deleteAdapter(name: string): void {
    this.ia3_l.delete(name)
  }

  protected override adapt(adapters: readonly string[], x: Tensor): Tensor {
    const factors = adapters.map(name => reshape(this.ia3_l.get(name)!, [-1]))
    const scale = (tensor: Tensor) => factors.reduce((product, factor) => mul(product, factor), tensor)
    return this.isFeedforward ? this.base_layer.forward(scale(x)) : scale(this.base_layer.forward(x))
  }

  protected override adaptRows(rows: AdapterRows, x: Tensor): Tensor {
    const stack = new RowStack(rows, new Set(this.adapterNames()))
    const scale = (tensor: Tensor) => {
      const width = tensor.shape.at(-1) as number
      const vectorOf = (name: string) => reshape(this.ia3_l.get(name)!, [-1])
      return mul(tensor, stack.pickFor(tensor, ones(tensor.graph, [width]), vectorOf))
    }
    return this.isFeedforward ? this.base_layer.forward(scale(x)) : scale(this.base_layer.forward(x))
  }

  override mergedParameters(adapters: readonly string[]): Record<string, Tensor> {
    const own = adapters.flatMap(name => this.ia3_l.get(name) ?? [])
    if (own.length === 0) return {}
    const { weight, bias } = this.original
    const factors = own.map(vector => reshape(vector, vector.shape))
    const inLayout = (factor: Tensor) => (this.original instanceof Conv1D ? transpose(factor) : factor)
    const [first, ...rest] = factors
    const total = rest.reduce((product, factor) => mul(product, factor), mul(first, 1))
    const merged = { weight: mul(weight, inLayout(total)) }
    return bias && !this.isFeedforward ? { ...merged, bias: mul(bias, reshape(total, [-1])) } : merged
  }
}

/** Whether the configuration counts the module at `path` among the feed-forward ones. */
export function isFeedforward({ feedforwardModules }: IA3Config, path: string): boolean {
  if (typeof feedforwardModules === 'string') return fullMatch(feedforwardModules, 'feedforwardModules').test(path)
  return (feedforwardModules ?? []).some(name => path === name || path.endsWith(`.${name}`))
}
