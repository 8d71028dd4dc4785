/** @file The parameters whose values a compiled computation is given at each run. */
import { type Graph, reshape, slice, type Tensor } from '../graph/index.ts'
import { Parameter } from '../nn/index.ts'
import type { TensorData } from '../runtime/index.ts'

/**
 * In a graph, makes parameters slices of one input, in the order in which they are first read. Those that are not read
 * are not fed: an adapter that does not take part costs nothing.
 */
export class FedParameters {
  /** Those that are read, in their order in the input. */
  readonly parameters: Parameter[] = []
  /** Those that could change but are constants as long as they lie in their files. */
  readonly unloaded: Parameter[] = []
  #size = 0

  /** @param takes which parameters are fed; all others are constants */
  constructor(graph: Graph, name: string, takes: (parameter: Parameter) => boolean) {
    let vector: Tensor | undefined
    graph.resolver = key => {
      if (!(key instanceof Parameter && takes(key))) return undefined
      if (!key.isLoaded && !key.isPending) {
        this.unloaded.push(key)
        return undefined
      }
      vector ??= graph.input(name, 'float32', [name])
      const start = this.#size
      this.#size += key.size
      this.parameters.push(key)
      return reshape(slice(vector, 0, start, this.#size), key.shape)
    }
  }

  /** The values as they are now. */
  snapshot(): ParameterSnapshot {
    return new ParameterSnapshot(this.parameters)
  }
}

/**
 * Copies of values, one parameter after another. What is in memory is copied when this is made, so that training while
 * a computation waits or runs does not change it half way; what is still to be worked out is read later.
 */
export class ParameterSnapshot {
  readonly #data: Float32Array
  readonly #missing: { parameter: Parameter; offset: number }[] = []

  constructor(parameters: readonly Parameter[]) {
    this.#data = new Float32Array(parameters.reduce((size, parameter) => size + parameter.size, 0))
    let offset = 0
    for (const parameter of parameters) {
      if (parameter.isLoaded) this.#data.set(parameter.data, offset)
      else this.#missing.push({ parameter, offset })
      offset += parameter.size
    }
  }

  /** The values, `[size]`. */
  async read(): Promise<TensorData> {
    for (const { parameter, offset } of this.#missing.splice(0)) this.#data.set(await parameter.read(), offset)
    return { dtype: 'float32', dims: [this.#data.length], data: this.#data }
  }
}
