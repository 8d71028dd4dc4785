/** @file VeRA's layer: two trained vectors around frozen random matrices that all layers share (arXiv 2310.11454). */
import {
  add,
  dropout,
  linear,
  matmul,
  mul,
  type Operand,
  slice,
  type Tensor,
  transpose,
  unsqueeze,
} from '../../../graph/index.ts'
import {
  Conv1D,
  constantInit,
  type Linear,
  normalInit,
  onesInit,
  Parameter,
  ParameterDict,
  zerosInit,
} from '../../../nn/index.ts'
import type { WrapContext } from '../../method.ts'
import { TunerLayer } from '../../tuner-layer.ts'
import type { VeraConfig } from './config.ts'
import type { Projections } from './projections.ts'

/** What an adapter of the layer has beside its vectors. */
interface VeraSettings extends Projections {
  dropout: number
}

/** VeRA on a dense layer: `W x + b ⊙ B (d ⊙ A x)`. */
export class VeraLayer extends TunerLayer<Linear | Conv1D> {
  /** `[out]` for each adapter. */
  vera_lambda_b = new ParameterDict()
  /** `[r]` for each adapter. */
  vera_lambda_d = new ParameterDict()
  /** The shared matrices belong to the model, not to this layer. */
  readonly settings: Record<string, VeraSettings> = {}

  /** Adds an adapter with its first values. */
  addAdapter({ adapterName, config, random }: WrapContext<VeraConfig>, projections: Projections): void {
    const { r, initWeights, dInitial, veraDropout } = config
    const draw = (size: number, init: typeof zerosInit) => Parameter.from(init(random, [size]), [size])
    this.settings[adapterName] = { ...projections, dropout: veraDropout }
    this.vera_lambda_b.set(adapterName, draw(this.original.outFeatures, initWeights ? zerosInit : onesInit))
    this.vera_lambda_d.set(adapterName, draw(r, initWeights ? constantInit(dInitial) : normalInit(1)))
  }

  override adapterNames(): string[] {
    return Object.keys(this.settings)
  }

  override deleteAdapter(name: string): void {
    delete this.settings[name]
    this.vera_lambda_b.delete(name)
    this.vera_lambda_d.delete(name)
  }

  /** The parts of the shared matrices that fit this layer: `[r, in]` and `[out, r]`. */
  private matrices(name: string): { a: Operand; b: Operand } {
    const { a, b } = this.settings[name]
    const { inFeatures, outFeatures } = this.original
    return {
      a: a.shape[1] === inFeatures ? a : slice(a, 1, 0, inFeatures),
      b: b.shape[0] === outFeatures ? b : slice(b, 0, 0, outFeatures),
    }
  }

  protected override adapt(adapters: readonly string[], x: Tensor): Tensor {
    let result = this.base_layer.forward(x)
    for (const name of adapters) {
      const { a, b } = this.matrices(name)
      const inner = mul(linear(dropout(x, this.settings[name].dropout), a), this.vera_lambda_d.get(name)!)
      result = add(result, mul(linear(inner, b), this.vera_lambda_b.get(name)!))
    }
    return result
  }

  override mergedParameters(adapters: readonly string[]): Record<string, Tensor> {
    const own = adapters.filter(name => name in this.settings)
    if (own.length === 0) return {}
    const deltas = own.map(name => {
      const { a, b } = this.matrices(name)
      const scaled = mul(b, unsqueeze(this.vera_lambda_b.get(name)!, [1]))
      const delta = matmul(scaled, mul(a, unsqueeze(this.vera_lambda_d.get(name)!, [1])))
      return this.original instanceof Conv1D ? transpose(delta) : delta
    })
    return { weight: deltas.reduce((sum, delta) => add(sum, delta), add(this.original.weight, 0)) }
  }
}
