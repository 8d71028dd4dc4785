/** @file Values of several parameters in one tensor. */
import { concat, type Graph, type Tensor, type Traceable, toTensor, unsqueeze, zeros } from '../graph/index.ts'
import type { Parameter } from './parameter.ts'

/**
 * Zeros, then the values of parameters of one shape: `[1 + parameters, ...shape]`. A compiled function can be fed it as
 * a whole, and its engine keeps it as long as no value changes.
 */
export class ParameterStack implements Traceable {
  readonly parameters: readonly Parameter[]
  readonly shape: readonly number[]

  /** @throws when there are none, or their shapes differ */
  constructor(parameters: readonly Parameter[]) {
    const shapes = new Set(parameters.map(({ shape }) => shape.join()))
    if (shapes.size !== 1)
      throw new Error(
        `A stack takes parameters of one shape, got ${[...shapes].map(s => `[${s}]`).join(', ') || 'none'}`,
      )
    this.parameters = parameters
    this.shape = [parameters.length + 1, ...parameters[0].shape]
  }

  trace(graph: Graph): Tensor {
    const whole = graph.resolve(this)
    if (whole) return whole
    const parts = [zeros(graph, this.shape.slice(1)), ...this.parameters.map(parameter => toTensor(graph, parameter))]
    return concat(
      parts.map(part => unsqueeze(part, [0])),
      0,
    )
  }
}
