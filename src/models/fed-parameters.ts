/** @file The parameters whose values a compiled computation is given at each run. */
import { type Graph, reshape, slice, type Tensor } from '../graph/index.ts'
import { Parameter, ParameterStack } from '../nn/index.ts'
import type { TensorData } from '../runtime/index.ts'

/** An input that carries parameters. */
interface FedInput {
  name: string
  /** Undefined where the parameters simply follow each other. */
  shape?: readonly number[]
  /** Their values follow each other at the end. */
  parameters: Parameter[]
}

/** Chooses the parameters that are fed. */
type Takes = (parameter: Parameter) => boolean

/** The parameters that a traced computation reads: those that it is fed at each run, and those that are constants. */
export class FedParameters {
  readonly #inputs: readonly FedInput[]
  /** Those that are read as constants, with the versions of their values. */
  readonly #constants: ReadonlyMap<Parameter, number>
  readonly #takes: Takes

  private constructor(inputs: readonly FedInput[], constants: ReadonlyMap<Parameter, number>, takes: Takes) {
    this.#inputs = inputs
    this.#constants = constants
    this.#takes = takes
  }

  /**
   * In a graph, makes parameters slices of one input, in the order in which they are first read, and stacks of them
   * inputs of their own. Those that are not read are not fed: an adapter that does not take part costs nothing.
   *
   * @param name the name of the input; those of stacks begin with it
   * @param takes which parameters are fed; all others are constants, as are those that lie in their files
   */
  static in(graph: Graph, name: string, takes: Takes): FedParameters {
    const inputs: FedInput[] = [{ name, parameters: [] }]
    const constants = new Map<Parameter, number>()
    let vector: Tensor | undefined
    let size = 0
    const isFed = (parameter: Parameter) => takes(parameter) && isAtHand(parameter)
    graph.resolver = key => {
      if (key instanceof ParameterStack) {
        // Those that stand for something else in this graph are read one by one.
        if (!key.parameters.every(parameter => isFed(parameter) && !graph.bound(parameter))) return undefined
        const input = { name: `${name}.${inputs.length}`, shape: key.shape, parameters: [...key.parameters] }
        inputs.push(input)
        return graph.input(input.name, 'float32', input.shape)
      }
      if (!(key instanceof Parameter)) return undefined
      if (!isFed(key)) {
        constants.set(key, key.version)
        return undefined
      }
      vector ??= graph.input(name, 'float32', [name])
      const start = size
      size += key.size
      inputs[0].parameters.push(key)
      return reshape(slice(vector, 0, start, size), key.shape)
    }
    return new FedParameters(inputs, constants, takes)
  }

  /** Those that are fed. */
  get parameters(): readonly Parameter[] {
    return this.#inputs.flatMap(({ parameters }) => parameters)
  }

  /** Whether what was taken for a constant because it lay in a file may have been read and changed since. */
  get isOutdated(): boolean {
    for (const parameter of this.#constants.keys()) if (parameter.isLoaded && this.#takes(parameter)) return true
    return false
  }

  /** Whether what was taken for a constant still is one, with the values that it had; values written in place aside. */
  get isCurrent(): boolean {
    for (const [parameter, version] of this.#constants) {
      if (parameter.version !== version || (isAtHand(parameter) && this.#takes(parameter))) return false
    }
    return true
  }

  /**
   * The same computation with other parameters in the place of its own, those at the same positions of two lists;
   * undefined where it is not certain that it is the same: some are constants, or constants have other values now.
   */
  withOthers(own: readonly Parameter[], others: readonly Parameter[]): FedParameters | undefined {
    if (!this.isCurrent || own.some(parameter => this.#constants.has(parameter))) return undefined
    const replaced = new Map(own.map((parameter, i) => [parameter, others[i]]))
    const inputs = this.#inputs.map(input => ({
      ...input,
      parameters: input.parameters.map(parameter => replaced.get(parameter) ?? parameter),
    }))
    const areFed = inputs.every(({ parameters }) =>
      parameters.every(parameter => this.#takes(parameter) && isAtHand(parameter)),
    )
    return areFed ? new FedParameters(inputs, this.#constants, this.#takes) : undefined
  }

  /**
   * The values as they are now.
   *
   * @param last a snapshot taken before: what has not changed since is taken over from it
   */
  snapshot(last?: ParameterSnapshot): ParameterSnapshot {
    return new ParameterSnapshot(this.#inputs, last)
  }
}

const isAtHand = (parameter: Parameter) => parameter.isLoaded || parameter.isPending

/**
 * Copies of values, one parameter after another. What is in memory is copied when this is made, so that training while
 * a computation waits or runs does not change it half way; what is still to be worked out is read later.
 */
export class ParameterSnapshot {
  readonly #feeds = new Map<string, TensorData<Float32Array>>()
  readonly #missing: { parameter: Parameter; place: Float32Array }[] = []

  constructor(inputs: readonly FedInput[], last?: ParameterSnapshot) {
    for (const input of inputs) {
      const before = last && last.#missing.length === 0 ? last.#feeds.get(input.name) : undefined
      this.#feeds.set(input.name, before && holds(before.data, input) ? before : this.#copy(input))
    }
  }

  #copy(input: FedInput): TensorData<Float32Array> {
    const { shape, parameters } = input
    const data = new Float32Array(sizeOf(input))
    for (const { parameter, place } of places(data, parameters)) {
      if (parameter.isLoaded) place.set(parameter.data)
      else this.#missing.push({ parameter, place })
    }
    return { dtype: 'float32', dims: shape ?? [data.length], data, isConstant: true }
  }

  /** The inputs with the values. */
  async feeds(): Promise<Record<string, TensorData>> {
    const missing = [...this.#missing]
    for (const { parameter, place } of missing) place.set(await parameter.read())
    this.#missing.length = 0
    return Object.fromEntries(this.#feeds)
  }
}

const sizeOf = ({ shape, parameters }: FedInput) =>
  shape ? shape.reduce((a, b) => a * b, 1) : parameters.reduce((sum, { size }) => sum + size, 0)

/** Where each parameter's values stand: one after another, up to the end. */
function* places(data: Float32Array, parameters: readonly Parameter[]) {
  let offset = data.length - parameters.reduce((sum, { size }) => sum + size, 0)
  for (const parameter of parameters) {
    yield { parameter, place: data.subarray(offset, offset + parameter.size) }
    offset += parameter.size
  }
}

/** Whether an array holds the very values that an input is to have now. */
function holds(data: Float32Array, input: FedInput): boolean {
  if (data.length !== sizeOf(input)) return false
  for (const { parameter, place } of places(data, input.parameters)) {
    if (!parameter.isLoaded || !hasSameBits(place, parameter.data)) return false
  }
  return true
}

/** Compares bits, so that a NaN equals itself and 0 differs from -0. */
function hasSameBits(a: Float32Array, b: Float32Array): boolean {
  const [left, right] = [a, b].map(({ buffer, byteOffset, length }) => new Int32Array(buffer, byteOffset, length))
  for (let i = 0; i < left.length; i++) if (left[i] !== right[i]) return false
  return true
}
