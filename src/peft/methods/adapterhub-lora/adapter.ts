/** @file One adapter of AdapterHub's LoRA family on a dense layer. Its two steps are apart so that adapters can be composed. */
import { add, div, mul, type Operand, reshape, sqrt, sum, type Tensor } from '../../../graph/index.ts'
import { type Linear, Module, Parameter } from '../../../nn/index.ts'
import { averagedGate, createGate } from '../../adapterhub/gate.ts'
import { type Blocks, partsFor } from './blocks.ts'
import type { AdapterHubLoraConfig } from './config.ts'

/** The learnt lengths of a weight's rows, under AdapterHub's name. */
export class Magnitude extends Module {
  /** `[out, 1]` */
  weight: Parameter

  /** @param dense whose weight's rows have the lengths that are the first values */
  constructor({ weight, isTransposed }: Pick<DenseShape, 'weight' | 'isTransposed'>) {
    super()
    const [rows, columns] = isTransposed ? [...weight.shape].reverse() : weight.shape
    this.weight = Parameter.computed([rows, 1], async () => {
      const values = await weight.read()
      const square = (row: number, column: number) =>
        values[isTransposed ? column * rows + row : row * columns + column] ** 2
      return Float32Array.from({ length: rows }, (_, row) => {
        let total = 0
        for (let column = 0; column < columns; column++) total += square(row, column)
        return Math.sqrt(total)
      })
    })
  }

  forward(): never {
    throw new Error('A Magnitude only holds lengths; call the layer that it belongs to')
  }
}

/** A dense layer as an adapter sees it. */
export interface DenseShape {
  input: number
  blocks: Blocks
  /** The weight as it was before all adapters, `[out, in]`, or `[in, out]` where `isTransposed`. */
  weight: Parameter
  isTransposed: boolean
}

/** The weight and the bias of a dense layer. */
export interface DenseValues {
  /** `[out, in]` */
  weight: Tensor
  /** `[out]` */
  bias?: Tensor
}

/** What all adapters of the family have. */
export abstract class HubLoraAdapter extends Module {
  readonly config: AdapterHubLoraConfig
  readonly blocks: Blocks
  /** Gives a factor for each block, which takes the place of the scale. */
  gate: Linear | undefined

  constructor(config: AdapterHubLoraConfig, { input, blocks }: DenseShape) {
    super()
    this.config = config
    this.blocks = blocks
    this.gate = config.useGating ? createGate(input, blocks.chosen.length) : undefined
  }

  /**
   * What the adapter makes of a layer's input, or of the update of the adapter before it in a stack; the scale or the
   * gate is in it.
   *
   * @param input the layer's input, which the gate reads
   * @param before the update of the adapter before
   */
  abstract update(input: Tensor, before?: Tensor): Tensor

  /** The layer's result with an update. @param weight the layer's weight before all adapters, `[out, in]` */
  abstract join(result: Tensor, update: Tensor, weight: () => Operand): Tensor

  /** The weight and the bias with which the layer alone computes what it does with the adapter. */
  abstract merge(values: DenseValues, weight: Operand): DenseValues

  /** The factor on the update of each of the chosen blocks: a number, or `[batch, 1…, 1]`. */
  protected factors(input: Tensor, scale: number): Operand[] {
    return this.gate ? partsFor(this.blocks, averagedGate(this.gate, input), -1) : this.blocks.chosen.map(() => scale)
  }

  override forward(result: Tensor, input: Tensor, weight: () => Operand): Tensor {
    return this.join(result, this.update(input), weight)
  }
}

/** An adapter that adds to the weight; with DoRA the rows of the sum get lengths of their own. */
export abstract class AdditiveAdapter extends HubLoraAdapter {
  m: Magnitude | undefined

  constructor(config: AdapterHubLoraConfig, shape: DenseShape) {
    super(config, shape)
    this.m = config.useDora ? new Magnitude(shape) : undefined
  }

  protected get scale(): number {
    return this.config.alpha / this.config.r
  }

  /** What is added to the weight, before the scale, `[out, in]`. */
  abstract delta(): Tensor

  override join(result: Tensor, update: Tensor, weight: () => Operand): Tensor {
    const sum = add(result, update)
    return this.m ? mul(sum, this.lengthening(weight())) : sum
  }

  override merge({ weight, bias }: DenseValues, original: Operand): DenseValues {
    const sum = add(weight, mul(this.delta(), this.scale))
    if (!this.m) return { weight: sum, bias }
    const factor = this.lengthening(original)
    return { weight: mul(sum, reshape(factor, [-1, 1])), bias: bias && mul(bias, factor) }
  }

  /** `m / |W + B A|` for each row, without the scale and with gradients, as AdapterHub has it: `[out]`. */
  private lengthening(weight: Operand): Tensor {
    const whole = add(weight, this.delta())
    return div(reshape(this.m!.weight, [-1]), sqrt(sum(mul(whole, whole), [1])))
  }
}
