/** @file (IA)³: a factor on each output of a dense layer, its bias included (arXiv 2205.05638). */
import { type Dim, expand, type Graph, mul, type Operand, reshape, type Tensor } from '../../../graph/index.ts'
import { type Initializer, normalInit, onesInit, Parameter, zerosInit } from '../../../nn/index.ts'
import { type DenseShape, type DenseValues, HubLoraAdapter } from './adapter.ts'
import { partsFor, spread } from './blocks.ts'
import type { AdapterHubLoraConfig } from './config.ts'

const INITS: Readonly<Record<string, Initializer>> = { lora: zerosInit, bert: normalInit(0.02), ia3: onesInit }

/** `(W x + b) ⊙ l · alpha`. */
export class ScaleAdapter extends HubLoraAdapter {
  /** `[blocks width, 1]` */
  lora_B: Parameter

  constructor(config: AdapterHubLoraConfig, shape: DenseShape) {
    super(config, shape)
    const { chosen, width } = shape.blocks
    this.lora_B = new Parameter([chosen.length * width, 1], { init: INITS[config.initWeights] })
  }

  override update(input: Tensor, before?: Tensor): Tensor {
    const vector = this.vector(this.factors(input, this.config.alpha), input.rank)
    return before ? mul(before, vector) : vector
  }

  override join(result: Tensor, update: Tensor): Tensor {
    return mul(result, update)
  }

  override merge({ weight, bias }: DenseValues): DenseValues {
    const factors = this.blocks.chosen.map(() => this.config.alpha)
    const vector = this.vector(factors, 1)
    return { weight: mul(weight, reshape(vector, [-1, 1])), bias: bias && mul(bias, vector) }
  }

  /** The factors on all outputs, of so many axes: `[…, out]`. */
  private vector(factors: readonly Operand[], rank: number): Tensor {
    const flat = reshape(this.lora_B, [...new Array(rank - 1).fill(1), -1])
    const parts = partsFor(this.blocks, flat, -1).map((part, i) => mul(part, factors[i]))
    // AdapterHub multiplies those blocks of a fused layer by alpha, too, that have no factors.
    const other = this.gate ? 1 : this.config.alpha
    return spread(this.blocks, parts, -1, (graph, shape) => constant(graph, other, shape))
  }
}

function constant(graph: Graph, value: number, shape: readonly Dim[]): Tensor {
  return expand(
    graph.constant(
      value,
      'float32',
      shape.map(() => 1),
    ),
    shape,
  )
}
