/** @file The parameters whose values a compiled computation is given at each run. */
import { type Graph, reshape, slice, type Tensor } from '../graph/index.ts'
import { Parameter } from '../nn/index.ts'
import type { TensorData } from '../runtime/index.ts'

/** The parameters that a traced computation reads: those that it is fed at each run, and those that are constants. */
export class FedParameters {
  /** Those that are fed, in their order in the input. */
  readonly parameters: readonly Parameter[]
  /** Those that are read as constants, with the versions of their values. */
  readonly #constants: ReadonlyMap<Parameter, number>
  readonly #takes: (parameter: Parameter) => boolean

  private constructor(
    parameters: readonly Parameter[],
    constants: ReadonlyMap<Parameter, number>,
    takes: (parameter: Parameter) => boolean,
  ) {
    this.parameters = parameters
    this.#constants = constants
    this.#takes = takes
  }

  /**
   * In a graph, makes parameters slices of one input, in the order in which they are first read. Those that are not
   * read are not fed: an adapter that does not take part costs nothing.
   *
   * @param takes which parameters are fed; all others are constants, as are those that lie in their files
   */
  static in(graph: Graph, name: string, takes: (parameter: Parameter) => boolean): FedParameters {
    const parameters: Parameter[] = []
    const constants = new Map<Parameter, number>()
    let vector: Tensor | undefined
    let size = 0
    graph.resolver = key => {
      if (!(key instanceof Parameter)) return undefined
      if (!takes(key) || !isAtHand(key)) {
        constants.set(key, key.version)
        return undefined
      }
      vector ??= graph.input(name, 'float32', [name])
      const start = size
      size += key.size
      parameters.push(key)
      return reshape(slice(vector, 0, start, size), key.shape)
    }
    return new FedParameters(parameters, constants, takes)
  }

  /** Whether what was taken for a constant because it lay in a file may have been read and changed since. */
  get isOutdated(): boolean {
    return [...this.#constants.keys()].some(parameter => parameter.isLoaded && this.#takes(parameter))
  }

  /** Whether what was taken for a constant still is one, with the values that it had; values written in place aside. */
  get isCurrent(): boolean {
    return [...this.#constants].every(
      ([parameter, version]) => parameter.version === version && !(this.#takes(parameter) && isAtHand(parameter)),
    )
  }

  /**
   * The same computation with other parameters in the place of its own, those at the same positions of two lists;
   * undefined where it is not certain that it is the same: some are constants, or constants have other values now.
   */
  withOthers(own: readonly Parameter[], others: readonly Parameter[]): FedParameters | undefined {
    const replaced = new Map(own.map((parameter, i) => [parameter, others[i]]))
    if (!this.isCurrent || own.some(parameter => this.#constants.has(parameter))) return undefined
    const parameters = this.parameters.map(parameter => replaced.get(parameter) ?? parameter)
    if (!parameters.every(parameter => this.#takes(parameter) && isAtHand(parameter))) return undefined
    return new FedParameters(parameters, this.#constants, this.#takes)
  }

  /** The values as they are now. */
  snapshot(): ParameterSnapshot {
    return new ParameterSnapshot(this.parameters)
  }
}

const isAtHand = (parameter: Parameter) => parameter.isLoaded || parameter.isPending

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
