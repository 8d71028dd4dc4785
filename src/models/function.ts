/** @file Functions of a module tree, traced when data of a new form comes, compiled, kept and run. */
import { type Dim, type DType, Graph, type Shape, type Tensor } from '../graph/index.ts'
import { type Module, type Parameter, ParameterVector } from '../nn/index.ts'
import {
  type CompileOptions,
  defaultEngine,
  type Engine,
  type Executable,
  type RunOptions,
  type TensorData,
} from '../runtime/index.ts'

/** Inputs of a function: their element types and shapes, in which names stand for lengths that vary. */
export type InputSpecs = Readonly<Record<string, { dtype: DType; shape: Shape }>>

/** Symbolic inputs by name. */
export type SymbolicInputs = Record<string, Tensor>

/** Options of {@link compile}. */
export interface FunctionOptions extends CompileOptions {
  /**
   * The inputs with their symbolic dimensions. Without it the first axis that all inputs share is symbolic and the
   * rest is fixed: data of another form is compiled anew.
   */
  inputs?: InputSpecs
  /** What compiles and runs; by default one engine for the whole process. */
  engine?: Engine
  /**
   * The parameters whose values are read at each run. By default those that are trainable and in memory; all others
   * are constants, with the values they have when the function is compiled.
   */
  parameters?: Iterable<readonly [string, Parameter]>
}

/** The name of the input that carries the parameters. */
const VECTOR = 'parameters'

/** What a function computes, given its symbolic inputs; `vector` holds the parameters that vary. */
export type Build = (graph: Graph, inputs: SymbolicInputs, vector: ParameterVector) => Readonly<Record<string, Tensor>>

/** A traced function: compiled once for each form of its inputs. */
export class TracedFunction {
  readonly vector: ParameterVector
  readonly #build: Build
  readonly #options: FunctionOptions
  readonly #compiled = new Map<string, Promise<Executable>>()

  constructor(vector: ParameterVector, build: Build, options: FunctionOptions) {
    this.vector = vector
    this.#build = build
    this.#options = options
  }

  /** Runs the function on data. */
  async run(
    batch: Readonly<Record<string, TensorData>>,
    options: RunOptions = {},
  ): Promise<Record<string, TensorData>> {
    options.signal?.throwIfAborted()
    const executable = await this.#executable(batch)
    const { data } = this.vector
    const feeds = { ...batch, [VECTOR]: { dtype: 'float32' as const, dims: [data.length], data } }
    return executable.run(feeds, options)
  }

  #executable(batch: Readonly<Record<string, TensorData>>): Promise<Executable> {
    const { inputs } = this.#options
    const specs = inputs ? declared(inputs, batch) : inferred(batch)
    const key = JSON.stringify(specs)
    let executable = this.#compiled.get(key)
    if (!executable) {
      executable = this.#compile(specs)
      this.#compiled.set(key, executable)
      executable.catch(() => this.#compiled.delete(key))
    }
    return executable
  }

  async #compile(specs: InputSpecs): Promise<Executable> {
    const graph = new Graph()
    const inputs: SymbolicInputs = {}
    for (const [name, { dtype, shape }] of Object.entries(specs)) inputs[name] = graph.input(name, dtype, shape)
    this.vector.bind(graph, graph.input(VECTOR, 'float32', [this.vector.size]))
    const outputs = graph.trace(() => this.#build(graph, inputs, this.vector))
    const engine = this.#options.engine ?? (await defaultEngine())
    return engine.compile(outputs, this.#options)
  }

  /** Frees what was compiled. */
  async dispose(): Promise<void> {
    const executables = [...this.#compiled.values()]
    this.#compiled.clear()
    for (const executable of executables) await (await executable).dispose()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose()
  }
}

/** The declared inputs that the batch has, in their declared order. */
function declared(specs: InputSpecs, batch: Readonly<Record<string, TensorData>>): InputSpecs {
  const unknown = Object.keys(batch).filter(name => !(name in specs))
  if (unknown.length) {
    throw new Error(
      `The input ${unknown.map(name => `"${name}"`)} is not known; the inputs are ${Object.keys(specs).join(', ')}`,
    )
  }
  return Object.fromEntries(Object.entries(specs).filter(([name]) => name in batch))
}

function inferred(batch: Readonly<Record<string, TensorData>>): InputSpecs {
  const entries = Object.entries(batch)
  const first = entries.find(([, { dims }]) => dims.length > 0)?.[1].dims[0]
  const shared = entries.every(([, { dims }]) => dims.length === 0 || dims[0] === first)
  return Object.fromEntries(
    entries.map(([name, { dtype, dims }]) => [
      name,
      { dtype, shape: dims.map<Dim>((dim, axis) => (axis === 0 && shared ? 'batch' : dim)) },
    ]),
  )
}

/** The parameters whose values can change between runs. */
export function varyingParameters(module: Module): [string, Parameter][] {
  return [...module.namedParameters()].filter(([, parameter]) => parameter.varies && isAtHand(parameter))
}

const isAtHand = (parameter: Parameter) => parameter.isLoaded || parameter.isPending

/** A function on data, with what frees it. */
export interface CompiledFunction extends AsyncDisposable {
  (batch: Readonly<Record<string, TensorData>>, options?: RunOptions): Promise<Record<string, TensorData>>
  dispose(): Promise<void>
}

/**
 * Makes a function on data of a function on symbolic tensors, without gradients and without dropout.
 *
 * @example
 * const predict = await compile(net, (net, { x }) => ({ y: net.forward(x) }))
 * const { y } = await predict({ x: tensorData('float32', [[1, 2], [3, 4]]) })
 */
export async function compile<M extends Module>(
  module: M,
  compute: (module: M, inputs: SymbolicInputs) => Readonly<Record<string, Tensor>>,
  options: FunctionOptions = {},
): Promise<CompiledFunction> {
  const vector = await ParameterVector.load(options.parameters ?? varyingParameters(module))
  const traced = new TracedFunction(vector, (_, inputs) => compute(module, inputs), options)
  return asFunction(traced, (batch: Readonly<Record<string, TensorData>>, run?: RunOptions) => traced.run(batch, run))
}

/** Puts `dispose` on a function that runs a traced one. */
export function asFunction<F extends (...args: never[]) => unknown>(
  traced: TracedFunction,
  call: F,
): F & AsyncDisposable & { dispose(): Promise<void> } {
  return Object.assign(call, { dispose: () => traced.dispose(), [Symbol.asyncDispose]: () => traced.dispose() })
}
