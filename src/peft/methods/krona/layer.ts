/** @file KronA's layer: an update that is the Kronecker product of two small matrices (arXiv 2212.10650). */
import { add, matmul, mul, reshape, type Tensor, transpose, unsqueeze } from '../../../graph/index.ts'
import { Conv1D, kaimingUniformInit, type Linear, Parameter, ParameterDict, zerosInit } from '../../../nn/index.ts'
import type { WrapContext } from '../../method.ts'
import { TunerLayer } from '../../tuner-layer.ts'
import { factorShapes, type KronAConfig } from './config.ts'

/** A dense layer with the update `s (A ⊗ B)`. */
export class KronALayer extends TunerLayer<Linear | Conv1D> {
  /** `[rows, columns]` for each adapter. */
  krona_A = new ParameterDict()
  /** `[out / rows, in / columns]` for each adapter. */
  krona_B = new ParameterDict()
  readonly scaling: Record<string, number> = {}

  /** Adds an adapter with its first values. */
  addAdapter({ adapterName, config, random }: WrapContext<KronAConfig>): void {
    const { left, right } = factorShapes(config, this.original.outFeatures, this.original.inFeatures)
    const init = config.initWeights ? zerosInit : kaimingUniformInit()
    this.krona_A.set(adapterName, Parameter.from(kaimingUniformInit()(random, left), left))
    this.krona_B.set(adapterName, Parameter.from(init(random, right), right))
    this.scaling[adapterName] = config.scaling
  }

  override adapterNames(): string[] {
    return Object.keys(this.scaling)
  }

  override deleteAdapter(name: string): void {
    delete this.scaling[name]
    this.krona_A.delete(name)
    this.krona_B.delete(name)
  }

  /** The product is never formed: `(A ⊗ B) vec(X) = vec(A X Bᵀ)` for x written as a matrix X. */
  protected override adapt(adapters: readonly string[], x: Tensor): Tensor {
    const leading = x.shape.slice(0, -1)
    return adapters.reduce((result, name) => {
      const [a, b] = [this.krona_A.get(name)!, this.krona_B.get(name)!]
      const matrix = reshape(x, [...leading, a.shape[1], b.shape[1]])
      const product = matmul(a, matmul(matrix, b, { transB: true }), { alpha: this.scaling[name] })
      return add(result, reshape(product, [...leading, this.original.outFeatures]))
    }, this.base_layer.forward(x))
  }

  override mergedParameters(adapters: readonly string[]): Record<string, Tensor> {
    const { weight, inFeatures, outFeatures } = this.original
    const isTransposed = this.original instanceof Conv1D
    const merged = adapters.reduce(
      (sum, name) => {
        const [a, b] = [unsqueeze(this.krona_A.get(name)!, [1, 3]), unsqueeze(this.krona_B.get(name)!, [0, 2])]
        const delta = mul(reshape(mul(a, b), [outFeatures, inFeatures]), this.scaling[name])
        return add(sum, isTransposed ? transpose(delta) : delta)
      },
      add(weight, 0),
    )
    return { weight: merged }
  }
}
