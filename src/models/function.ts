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
import { FedParameters, type ParameterSnapshot } from './fed-parameters.ts'
import { signatureOf } from './signature.ts'
import { isSwitchable, touch, VariantTraces } from './switching.ts'

export { type Interchangeable, type SwitchableModule, variantOf } from './switching.ts'

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
   * The parameters whose values are read at each run. By default those that are trainable and in memory. Of adapters
   * those that take part are read in any case. All others are constants, with the values they have when the function is
   * compiled.
   */
  parameters?: Iterable<readonly [string, Parameter]>
}

/** The name of the input that carries the parameters that were named. */
const VECTOR = 'parameters'
/** The name of the input that carries the other parameters that vary. */
const VALUES = 'values'

/** How many forms of a function are kept compiled: each holds the constants in the engine's own form. */
const KEPT = 16
/** How many traces are kept: they are small, but they hold on to the parameters they read. */
const KEPT_TRACES = 128

/** What a function computes, given its symbolic inputs; `vector` holds the parameters that were named. */
export type Build = (graph: Graph, inputs: SymbolicInputs, vector: ParameterVector) => Readonly<Record<string, Tensor>>

/** How {@link TracedFunction} is made. */
export interface TracedOptions extends FunctionOptions {
  /** The module that is traced, whose variant is followed. */
  module?: object
}

/** A trace: the executable that it runs on, and what that is fed. */
interface Trace {
  signature: string
  fed: FedParameters
}

/** What was compiled, with what it was fed last. */
interface Compiled {
  executable: Promise<Executable>
  fed?: ParameterSnapshot
}

/** A traced function: compiled once for each form of its inputs and each form of the computation. */
export class TracedFunction {
  readonly vector: ParameterVector
  readonly #build: Build
  readonly #options: TracedOptions
  readonly #traces = new VariantTraces<Trace>({
    limit: KEPT_TRACES,
    // What was taken for a constant because it lay in a file may have been read and changed since.
    isCurrent: ({ fed, signature }) => !fed.isOutdated && this.#compiled.has(signature),
    withOthers: (trace, own, others) => this.#withOthers(trace, own, others),
  })
  /** By the signature of the trace; those used last at the end. */
  readonly #compiled = new Map<string, Compiled>()

  constructor(vector: ParameterVector, build: Build, options: TracedOptions) {
    this.vector = vector
    this.#build = build
    this.#options = options
  }

  /** Runs the function on data. What it computes, and with which values, is decided when this is called. */
  async run(
    batch: Readonly<Record<string, TensorData>>,
    options: RunOptions = {},
  ): Promise<Record<string, TensorData>> {
    options.signal?.throwIfAborted()
    const { compiled, fed } = this.#prepare(batch)
    const values = fed.snapshot(compiled.fed)
    compiled.fed = values
    const ready = await compiled.executable
    const feeds = { ...batch, ...(await values.feeds()), [VECTOR]: this.#vectorData() }
    return ready.run(feeds, options)
  }

  #vectorData(): TensorData {
    const { data } = this.vector
    return { dtype: 'float32' as const, dims: [data.length], data }
  }

  #prepare(batch: Readonly<Record<string, TensorData>>): { compiled: Compiled; fed: FedParameters } {
    const { inputs, module } = this.#options
    const specs = inputs ? declared(inputs, batch) : inferred(batch)
    let traced: Readonly<Record<string, Tensor>> | undefined
    const make = () => {
      const { outputs, fed } = this.#trace(specs)
      traced = outputs
      const form = JSON.stringify(specs)
      // Only what follows a module can have several traces of one form.
      return { signature: module && isSwitchable(module) ? `${form} ${signatureOf(outputs)}` : form, fed }
    }
    const { signature, fed } = this.#traces.get(module ?? this, JSON.stringify(specs), make)
    let compiled = this.#compiled.get(signature)
    if (!compiled) {
      compiled = { executable: this.#compile(traced!) }
      compiled.executable.catch(() => this.#compiled.delete(signature))
    }
    touch(this.#compiled, signature, compiled, KEPT, free)
    return { compiled, fed }
  }

  #trace(specs: InputSpecs): { outputs: Readonly<Record<string, Tensor>>; fed: FedParameters } {
    const graph = new Graph()
    const inputs: SymbolicInputs = {}
    for (const [name, { dtype, shape }] of Object.entries(specs)) inputs[name] = graph.input(name, dtype, shape)
    this.vector.bind(graph, graph.input(VECTOR, 'float32', [this.vector.size]))
    const { module, parameters } = this.#options
    const followsAll = module !== undefined && isSwitchable(module) && parameters === undefined
    const takes = ({ varies, isSwitchable }: Parameter) => isSwitchable || (followsAll && varies)
    const fed = FedParameters.in(graph, VALUES, takes)
    return { outputs: graph.trace(() => this.#build(graph, inputs, this.vector)), fed }
  }

  /** The same trace with other parameters; undefined where it may be another one. */
  #withOthers(trace: Trace, own: readonly Parameter[], others: readonly Parameter[]): Trace | undefined {
    // Those that were named are read whichever adapter is active.
    const canFollow = this.vector.size === 0 && this.#compiled.has(trace.signature)
    const fed = canFollow ? trace.fed.withOthers(own, others) : undefined
    return fed && { signature: trace.signature, fed }
  }

  async #compile(outputs: Readonly<Record<string, Tensor>>): Promise<Executable> {
    const engine = this.#options.engine ?? (await defaultEngine())
    return engine.compile(outputs, this.#options)
  }

  /** Frees what was compiled. */
  async dispose(): Promise<void> {
    const all = [...this.#compiled.values()]
    this.#compiled.clear()
    this.#traces.clear()
    for (const { executable } of all) await (await executable).dispose()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose()
  }
}

/** The engine works in order: a run under way ends first. */
const free = ({ executable }: Compiled) => {
  executable.then(ready => ready.dispose()).catch(() => undefined)
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

/** The parameters that train and are at hand. Those of adapters are found by the trace, without going through them all. */
export function varyingParameters(module: Module): [string, Parameter][] {
  if (isSwitchable(module)) return []
  return [...module.namedParameters()].filter(([, parameter]) => parameter.varies && isAtHand(parameter))
}

const isAtHand = (parameter: Parameter) => parameter.isLoaded || parameter.isPending

/** A function on data, with what frees it. */
export interface CompiledFunction extends AsyncDisposable {
  (batch: Readonly<Record<string, TensorData>>, options?: RunOptions): Promise<Record<string, TensorData>>
  dispose(): Promise<void>
}

/**
 * Makes a function on data of a function on symbolic tensors, without gradients and without dropout. With adapters it
 * computes what the model computes when it is called: after a switch to an adapter of the same shapes nothing is
 * compiled.
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
  const traced = new TracedFunction(vector, (_, inputs) => compute(module, inputs), { ...options, module })
  return asFunction(traced, (batch: Readonly<Record<string, TensorData>>, run?: RunOptions) => traced.run(batch, run))
}

/** Puts `dispose` on a function that runs a traced one. */
export function asFunction<F extends (...args: never[]) => unknown>(
  traced: TracedFunction,
  call: F,
): F & AsyncDisposable & { dispose(): Promise<void> } {
  return Object.assign(call, { dispose: () => traced.dispose(), [Symbol.asyncDispose]: () => traced.dispose() })
}
