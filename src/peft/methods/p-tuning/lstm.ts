/** @file A long short-term memory (doi 10.1162/neco.1997.9.8.1735) in both directions, as PyTorch has it. */
import {
  add,
  concat,
  dropout,
  linear,
  mul,
  type Operand,
  sigmoid,
  slice,
  split,
  type Tensor,
  tanh,
} from '../../../graph/index.ts'
import { Module, Parameter, uniformInit } from '../../../nn/index.ts'

/** Options of {@link BidirectionalLSTM}. */
export interface LSTMOptions {
  inputSize: number
  /** The width of each direction. */
  hiddenSize: number
  numLayers: number
  /** The probability of dropout between layers. */
  dropout: number
}

/** The parameters of one layer in one direction. */
interface Cell {
  weightIh: Parameter
  weightHh: Parameter
  biasIh: Parameter
  biasHh: Parameter
}

/**
 * Layers of an LSTM over one sequence of known length, which is unrolled. Parameters have PyTorch's names
 * (`weight_ih_l0_reverse`), and its order of gates: input, forget, cell, output.
 */
export class BidirectionalLSTM extends Module {
  readonly options: LSTMOptions

  constructor(options: LSTMOptions) {
    super()
    this.options = options
    const { inputSize, hiddenSize, numLayers } = options
    const init = uniformInit(1 / Math.sqrt(hiddenSize))
    const parameter = (...shape: number[]) => new Parameter(shape, { init })
    for (let layer = 0; layer < numLayers; layer++) {
      const width = layer === 0 ? inputSize : 2 * hiddenSize
      for (const direction of ['', '_reverse']) {
        const name = `l${layer}${direction}`
        Object.assign(this, {
          [`weight_ih_${name}`]: parameter(4 * hiddenSize, width),
          [`weight_hh_${name}`]: parameter(4 * hiddenSize, hiddenSize),
          [`bias_ih_${name}`]: parameter(4 * hiddenSize),
          [`bias_hh_${name}`]: parameter(4 * hiddenSize),
        })
      }
    }
  }

  /** @param sequence `[length, input]` @returns `[length, 2 * hidden]` */
  forward(sequence: Tensor): Tensor {
    const { numLayers, dropout: probability } = this.options
    let state = sequence
    for (let layer = 0; layer < numLayers; layer++) {
      if (layer > 0) state = dropout(state, probability)
      const forwards = this.run(state, this.cell(`l${layer}`), false)
      const backwards = this.run(state, this.cell(`l${layer}_reverse`), true)
      state = concat([concat(forwards, 0), concat(backwards, 0)], 1)
    }
    return state
  }

  private cell(name: string): Cell {
    const own = this as unknown as Record<string, Parameter>
    return {
      weightIh: own[`weight_ih_${name}`],
      weightHh: own[`weight_hh_${name}`],
      biasIh: own[`bias_ih_${name}`],
      biasHh: own[`bias_hh_${name}`],
    }
  }

  /** One direction of one layer: the hidden state at each position, `[1, hidden]`, in the order of the positions. */
  private run(sequence: Tensor, { weightIh, weightHh, biasIh, biasHh }: Cell, isReverse: boolean): Tensor[] {
    const { hiddenSize } = this.options
    const [length] = sequence.shape
    if (typeof length !== 'number') {
      throw new Error(`BidirectionalLSTM: the length of a sequence must be a number to unroll it, got "${length}"`)
    }
    // What does not depend on the state before is computed for all positions at once.
    const given = add(linear(sequence, weightIh, biasIh), biasHh)
    const states: Tensor[] = []
    let hidden: Tensor | undefined
    let memory: Tensor | undefined
    for (let step = 0; step < length; step++) {
      const at = isReverse ? length - 1 - step : step
      const own = slice(given, 0, at, at + 1)
      const gates: Tensor = hidden ? add(own, linear(hidden, weightHh)) : own
      const [input, forget, cell, output] = split(gates, Array(4).fill(hiddenSize), 1)
      const added = mul(sigmoid(input), tanh(cell))
      memory = memory ? add(mul(sigmoid(forget), memory), added) : added
      hidden = mul(sigmoid(output), tanh(memory as Operand))
      states[at] = hidden
    }
    return states
  }
}
