/** @file The trainable state of a run: many parameters in one flat vector with a table of named slices. */
import { type Graph, reshape, slice, type Tensor } from '../graph/index.ts'
import type { Parameter } from './parameter.ts'

/** One parameter's place in the vector. */
export interface VectorSlice {
  name: string
  parameter: Parameter
  /** Position of its first value. */
  offset: number
  /** How many values it has. */
  size: number
}

/**
 * Parameters laid one after another in a `Float32Array`. Their `data` become views of it, so a change of the vector is
 * a change of the parameters. The values of all of them must be in memory (see {@link ParameterVector.load}).
 */
export class ParameterVector implements Iterable<[string, Parameter]> {
  readonly slices: readonly VectorSlice[]
  /** The number of values. */
  readonly size: number
  readonly #data: Float32Array

  constructor(parameters: Iterable<readonly [string, Parameter]>) {
    let offset = 0
    this.slices = [...parameters].map(([name, parameter]) => {
      const entry = { name, parameter, offset, size: parameter.size }
      offset += parameter.size
      return entry
    })
    this.size = offset
    this.#data = this.#adopt() ?? new Float32Array(this.size)
  }

  /** Reads what is not in memory yet, then lays the parameters out. */
  static async load(parameters: Iterable<readonly [string, Parameter]>): Promise<ParameterVector> {
    const entries = [...parameters]
    for (const [name, parameter] of entries) {
      parameter.name ||= name
      await parameter.load()
    }
    return new ParameterVector(entries)
  }

  /** The array that the parameters already share in this very order, if they do. */
  #adopt(): Float32Array | undefined {
    const first = this.slices[0]?.parameter
    if (!first?.isLoaded || this.slices.some(({ parameter }) => parameter.isShared)) return undefined
    const { buffer, byteOffset } = first.data
    const adjacent = this.slices.every(
      ({ parameter, offset }) =>
        parameter.isLoaded && parameter.data.buffer === buffer && parameter.data.byteOffset === byteOffset + offset * 4,
    )
    return adjacent ? new Float32Array(buffer as ArrayBuffer, byteOffset, this.size) : undefined
  }

  /**
   * All values. When a parameter was given other values, or was laid into another vector since, they are taken over
   * from there first.
   */
  get data(): Float32Array {
    const data = this.#data
    for (const { parameter, offset, size } of this.slices) {
      const current = parameter.data
      if (!parameter.isShared && current.buffer === data.buffer && current.byteOffset === data.byteOffset + offset * 4)
        continue
      const view = data.subarray(offset, offset + size)
      view.set(current)
      parameter.data = view
    }
    return data
  }

  /** In a graph, makes each parameter a slice of `vector`, cut out where it is first used. */
  bind(graph: Graph, vector: Tensor): void {
    for (const { parameter, offset, size } of this.slices) {
      graph.bind(parameter, () => reshape(slice(vector, 0, offset, offset + size), parameter.shape))
    }
  }

  *[Symbol.iterator](): Generator<[string, Parameter]> {
    for (const { name, parameter } of this.slices) yield [name, parameter]
  }
}

/** Gradients of the parameters of a vector, laid out in the same way. */
export class Gradients {
  readonly parameters: ParameterVector
  readonly data: Float32Array

  constructor(parameters: ParameterVector, data: Float32Array) {
    this.parameters = parameters
    this.data = data
  }

  /** The gradient of one parameter, by its name. Throws when it is not among them. */
  get(name: string): Float32Array {
    const found = this.parameters.slices.find(entry => entry.name === name)
    if (!found) throw new Error(`There is no gradient for "${name}"; there are ${this.parameters.slices.length} others`)
    return this.data.subarray(found.offset, found.offset + found.size)
  }

  /** The Euclidean norm of all of them together. */
  norm(): number {
    let total = 0
    for (const value of this.data) total += value * value
    return Math.sqrt(total)
  }
}
