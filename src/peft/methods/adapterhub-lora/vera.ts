/** @file VeRA as AdapterHub has it: trained square matrices around frozen random ones that all layers share. */
import { dropout, linear, matmul, mul, type Tensor } from '../../../graph/index.ts'
import { type Initializer, Module, type ModuleDict, Parameter } from '../../../nn/index.ts'
import { AdditiveAdapter, type DenseShape } from './adapter.ts'
import type { AdapterHubLoraConfig } from './config.ts'
import { NARROW_INITS } from './low-rank.ts'

/** The frozen matrices, under AdapterHub's names. It only holds them. */
export class VeraShared extends Module {
  /** `[r, in]` */
  lora_A: Parameter
  /** `[out, r]` */
  lora_B: Parameter

  constructor({ initWeights, r }: AdapterHubLoraConfig, input: number, output: number) {
    super()
    const { a, b } = NARROW_INITS[initWeights]
    this.lora_A = new Parameter([r, input], { init: a, requiresGrad: false })
    this.lora_B = new Parameter([output, r], { init: b, requiresGrad: false })
  }

  forward(): never {
    throw new Error('VeraShared only holds parameters')
  }
}

const diagonalInit =
  (value: number): Initializer =>
  (_, [size]) =>
    Float32Array.from({ length: size * size }, (_, i) => (i % (size + 1) === 0 ? value : 0))

/** `(alpha / r) B' B D' A x` with trained B' and D'; the paper has vectors in their places. */
export class VeraAdapter extends AdditiveAdapter {
  /** `[r, r]` */
  vera_D: Parameter
  /** `[out, out]` */
  vera_B: Parameter
  /** What all layers share, under the adapter's name. */
  shared_parameters: ModuleDict<VeraShared>

  constructor(config: AdapterHubLoraConfig, shape: DenseShape, shared: ModuleDict<VeraShared>) {
    super(config, shape)
    const { width } = shape.blocks
    this.vera_D = new Parameter([config.r, config.r], { init: diagonalInit(config.veraD!) })
    this.vera_B = new Parameter([width, width], { init: diagonalInit(config.veraB!) })
    this.shared_parameters = shared
  }

  private get shared(): VeraShared {
    const [[, shared]] = this.shared_parameters.children() as [[string, VeraShared]]
    return shared
  }

  override update(input: Tensor, before: Tensor = input): Tensor {
    const { lora_A, lora_B } = this.shared
    const matrices = [lora_A, this.vera_D, lora_B, this.vera_B]
    const x = matrices.reduce((state, matrix) => linear(state, matrix), dropout(before, this.config.dropout))
    return mul(x, this.factors(input, this.scale)[0])
  }

  override delta(): Tensor {
    const { lora_A, lora_B } = this.shared
    return matmul(matmul(this.vera_B, lora_B), matmul(this.vera_D, lora_A))
  }
}
