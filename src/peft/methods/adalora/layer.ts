/** @file AdaLoRA's layer: a low-rank update in the form of a singular value decomposition (arXiv 2303.10512). */
import {
  add,
  dropout,
  graphOf,
  linear,
  matmul,
  maximum,
  mul,
  reciprocal,
  reshape,
  sqrt,
  sub,
  sum,
  type Tensor,
  transpose,
} from '../../../graph/index.ts'
import { Conv1D, type Linear, normalInit, Parameter, ParameterDict, zerosInit } from '../../../nn/index.ts'
import type { Random } from '../../../util/random.ts'
import type { WrapContext } from '../../method.ts'
import { TunerLayer } from '../../tuner-layer.ts'
import type { AdaLoraConfig } from './config.ts'
import { patternOf } from './rank-pattern.ts'

/** What an adapter of the layer has beside its parameters. */
export interface AdaLoraSettings {
  scaling: number
  dropout: number
  /** Which of the directions that the layer began with its parameters hold: all, unless a file with fewer was loaded. */
  held: readonly boolean[]
  /** Which of the directions that the parameters hold the budget leaves. */
  left: readonly boolean[]
}

/** PEFT divides by the rank and this. */
const EPSILON = 1e-5

/** AdaLoRA on a dense layer: `W x + s / rank · B (E ⊙ A x)`. */
export class AdaLoraLayer extends TunerLayer<Linear | Conv1D> {
  /** The right singular vectors, `[r, in]` for each adapter. */
  lora_A = new ParameterDict()
  /** The singular values, `[r, 1]` for each adapter. */
  lora_E = new ParameterDict()
  /** The left singular vectors, `[out, r]` for each adapter. */
  lora_B = new ParameterDict()
  /** The rank that each adapter began with, by which its update is divided, `[1]`. */
  ranknum = new ParameterDict()
  readonly settings: Record<string, AdaLoraSettings> = {}

  /** Adds an adapter with its first values. */
  addAdapter({ adapterName, config, path, random }: WrapContext<AdaLoraConfig>): void {
    const { initR, loraAlpha, loraDropout, initLoraWeights } = config
    const { inFeatures, outFeatures } = this.original
    const held = patternOf(config.rankPattern, path) ?? Array<boolean>(initR).fill(true)
    const rank = held.filter(Boolean).length
    const scaling = loraAlpha > 0 ? loraAlpha : initR
    this.settings[adapterName] = { scaling, dropout: loraDropout, held, left: Array<boolean>(rank).fill(true) }
    const init = normalInit(initLoraWeights ? 0.02 : 1)
    this.lora_A.set(adapterName, drawn([rank, inFeatures], init, random))
    this.lora_E.set(adapterName, drawn([rank, 1], initLoraWeights ? zerosInit : init, random))
    this.lora_B.set(adapterName, drawn([outFeatures, rank], init, random))
    this.ranknum.set(adapterName, Parameter.from([initR], [1], { requiresGrad: false }))
  }

  override adapterNames(): string[] {
    return Object.keys(this.settings)
  }

  override deleteAdapter(name: string): void {
    delete this.settings[name]
    for (const dictionary of [this.lora_A, this.lora_E, this.lora_B, this.ranknum]) dictionary.delete(name)
  }

  /** The parameters of an adapter. */
  factors(name: string): { a: Parameter; e: Parameter; b: Parameter } {
    return { a: this.lora_A.get(name)!, e: this.lora_E.get(name)!, b: this.lora_B.get(name)! }
  }

  /** The number of directions that an adapter's parameters hold; a file can leave a layer none. */
  rank(name: string): number {
    return this.lora_E.get(name)!.shape[0]
  }

  /** The factor on the update. */
  private scale(name: string): Tensor {
    return mul(reciprocal(add(this.ranknum.get(name)!, EPSILON)), this.settings[name].scaling)
  }

  protected override adapt(adapters: readonly string[], x: Tensor): Tensor {
    let result = this.base_layer.forward(x)
    for (const name of adapters) {
      if (this.rank(name) === 0) continue
      const { a, e, b } = this.factors(name)
      const values = mul(reshape(e, [-1]), this.scale(name))
      result = add(result, linear(mul(linear(dropout(x, this.settings[name].dropout), a), values), b))
    }
    return result
  }

  override mergedParameters(adapters: readonly string[]): Record<string, Tensor> {
    const own = adapters.filter(name => name in this.settings && this.rank(name) > 0)
    if (own.length === 0) return {}
    const deltas = own.map(name => {
      const { a, e, b } = this.factors(name)
      const delta = matmul(b, mul(a, mul(e, this.scale(name))))
      return this.original instanceof Conv1D ? transpose(delta) : delta
    })
    return { weight: deltas.reduce((total, delta) => add(total, delta), add(this.original.weight, 0)) }
  }

  /** How far the directions of an adapter are from orthonormal: `‖A Aᵀ - I‖ + ‖Bᵀ B - I‖`, a scalar. */
  orthogonality(name: string): Tensor | undefined {
    const rank = this.rank(name)
    if (rank === 0) return undefined
    const { a, b } = this.factors(name)
    const identity = graphOf([]).constant(
      Array.from({ length: rank * rank }, (_, i) => (i % (rank + 1) === 0 ? 1 : 0)),
      'float32',
      [rank, rank],
    )
    return add(norm(sub(matmul(a, a, { transB: true }), identity)), norm(sub(matmul(b, b, { transA: true }), identity)))
  }
}

/** The Frobenius norm; its gradient at zero is zero. */
function norm(matrix: Tensor): Tensor {
  return sqrt(maximum(sum(mul(matrix, matrix)), 1e-30))
}

function drawn(shape: readonly number[], init: typeof zerosInit, random: Random): Parameter {
  return Parameter.from(init(random, shape), shape)
}
