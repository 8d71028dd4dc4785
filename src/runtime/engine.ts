/** @file The engine: compiles graphs and runs them, whatever executes them underneath. */
import {
  dimNames,
  dimTerms,
  evaluateDim,
  formatShape,
  type IntegerProducts,
  type LoweredModel,
  type LoweringOptions,
  lowerToOnnx,
  type QuantizedMatrix,
  reachableNodes,
  type Tensor,
} from '../graph/index.ts'
import { didYouMean } from '../util/nearest.ts'
import { QUANTIZED_PRODUCTS, type QuantizedProducts } from './kernels.ts'
import type { Memory, MemoryCopy, OutputCopy, ResidentTensor } from './memory.ts'
import type { TensorData } from './tensor-data.ts'

/** What an input is given: values, or values that the engine has. */
export type Feed = TensorData | ResidentTensor

/** How a graph is compiled. */
export interface CompileOptions {
  /**
   * `fast` repacks constant matrices for speed and keeps freed memory for the next run; `small` leaves weights mapped
   * from their files and returns memory after each run: about 0.6 of the peak for about 15 % more time.
   */
  mode?: 'fast' | 'small'
  /** The number of threads; by default one a processor. */
  threads?: number
  /**
   * Keep what `fast` repacks in a folder on disk and map it from there, for models whose weights lie in files and are not
   * small: later starts are quick, and the weights are pages of a file. It takes two to three times the size of the
   * weights there. The folder is that of `PEFT_TS_CACHE`, else in the user's cache folder.
   */
  keepPacked?: boolean
  /**
   * Whether products with int8 and int4 weights are exact: the weights are dequantised for each product, as training
   * does it. By default activations are rounded to 8 bits, which is faster for few rows.
   */
  dequantize?: boolean
  /** Whether less memory is wanted for 4-bit tables (nf4, fp4) even where products take longer; training says so. */
  mapOnce?: boolean
  /**
   * How products with frozen weights of `int8-channel` are computed. `exact` (the default): the weights are dequantised,
   * or as `dequantize` says; `int8`: in 8-bit arithmetic in the forward pass, with activations rounded too, which is
   * faster for many rows; `int8-gradients`: in the backward pass too; `auto`: `int8` where measuring on this processor, once,
   * finds that it is faster. Other weights are not concerned.
   */
  quantizedProducts?: QuantizedProducts
  /** Where to write a profile of every run (Chrome trace format), for work on the engine itself. */
  profile?: string
}

/** What a run may be given beside its inputs. */
export interface RunOptions {
  /** Decides the random numbers of this run (dropout). The same seed gives the same result. */
  seed?: number
  /** Stops before the run starts; one that has started ends first. */
  signal?: AbortSignal
  /** Outputs that are written into the engine's memory and not given back. */
  store?: Readonly<Record<string, readonly OutputCopy[]>>
}

/** A compiled graph in an engine's hands. */
export interface Session {
  run(feeds: Readonly<Record<string, Feed>>, details: RunDetails): Promise<Record<string, TensorData>>
  dispose(): Promise<void>
}

/** What a session is told beside the feeds of a run. */
export interface RunDetails {
  random: readonly RandomFeed[]
  seed: number
  store: Readonly<Record<string, readonly OutputCopy[]>>
}

/** A random input of one run: its shape is known now. */
export interface RandomFeed {
  name: string
  dims: readonly number[]
  /** The probability of keeping an element. */
  keep: number
  site: number
}

/** What executes models: ONNX Runtime for Node, or for browsers. */
export interface Backend {
  /** What models must be written for. */
  readonly target: NonNullable<LoweringOptions['target']>
  load(lowered: LoweredModel, options: CompileOptions): Promise<Session>
  /** Provides memory, filled with zeros. */
  allocate(memories: readonly Memory[]): Promise<void>
  /** Copies between memories, in order, after all runs that were asked for before. */
  copy(copies: readonly MemoryCopy[]): Promise<void>
  /** Gives memory back, after all that was asked for before. */
  free(memories: readonly Memory[]): Promise<void>
  /** Which products with weights of `int8-channel` are fastest in training, measured once; those of no backend: exact. */
  fastestProducts?(engine: Engine, threads?: number): Promise<'exact' | 'int8'>
  dispose(): Promise<void>
}

/** A computation that can be run on data. */
export class Executable {
  readonly #session: Session
  readonly #lowered: LoweredModel

  constructor(session: Session, lowered: LoweredModel) {
    this.#session = session
    this.#lowered = lowered
  }

  /** The inputs it reads: names, element types and shapes. */
  get inputs(): LoweredModel['inputs'] {
    return this.#lowered.inputs
  }

  /**
   * Runs it. Inputs that the computation does not read may be given and are ignored.
   *
   * @throws when an input is missing or does not fit, or when `signal` is aborted (with its reason)
   */
  async run(feeds: Readonly<Record<string, Feed>>, options: RunOptions = {}): Promise<Record<string, TensorData>> {
    options.signal?.throwIfAborted()
    const dims: Record<string, number> = {}
    const taken: Record<string, Feed> = {}
    for (const input of this.#lowered.inputs) bindDims(input, feeds[input.name], dims)
    for (const input of this.#lowered.inputs) taken[input.name] = checkFeed(input, feeds[input.name], dims)
    const random = this.#lowered.random.map(({ name, shape, keep, site }) => ({
      name,
      keep,
      site,
      dims: shape.map(dim => evaluateDim(dim, dims)),
    }))
    return this.#session.run(taken, { random, seed: options.seed ?? 0, store: options.store ?? {} })
  }

  /** Frees what the engine holds for it. */
  async dispose(): Promise<void> {
    await this.#session.dispose()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose()
  }
}

type Input = LoweredModel['inputs'][number]

/** Checks the type and rank of a feed, and gives the named dimensions that it is the first to have their values. */
function bindDims(input: Input, feed: Feed | undefined, dims: Record<string, number>): void {
  const expected = `${input.dtype}${formatShape(input.shape)}`
  if (!feed) throw new Error(`The input "${input.name}" (${expected}) is missing`)
  if (feed.dtype !== input.dtype || feed.dims.length !== input.shape.length) {
    throw new Error(`The input "${input.name}" must be ${expected}, got ${feed.dtype}${formatShape(feed.dims)}`)
  }
  input.shape.forEach((dim, i) => {
    const [term, ...others] = dimTerms(dim)
    if (others.length === 0 && term?.coefficient === 1 && term.names.length === 1) dims[term.names[0]] ??= feed.dims[i]
  })
}

/** Checks a feed's lengths, and returns it with nothing but what an engine reads. */
function checkFeed(input: Input, feed: Feed, dims: Record<string, number>): Feed {
  const { dtype, dims: lengths } = feed
  input.shape.forEach((dim, i) => {
    // Where nothing says what its names are, a sum or product counts as a name of its own.
    const isOpen = dimNames(dim).some(name => dims[name] === undefined)
    const value = isOpen ? (dims[dim] ??= lengths[i]) : evaluateDim(dim, dims)
    if (value === lengths[i]) return
    const expected = `${input.dtype}${formatShape(input.shape)}`
    throw new Error(
      `The input "${input.name}" must be ${expected} with ${dim} = ${value}, got ${dtype}${formatShape(lengths)}`,
    )
  })
  const size = lengths.reduce((a, b) => a * b, 1)
  if ('memory' in feed && feed.memory.size !== size) {
    throw new Error(
      `The input "${input.name}" of shape ${formatShape(lengths)} takes ${size} values, its memory holds ${feed.memory.size}`,
    )
  }
  if ('memory' in feed) return { dtype: feed.dtype, dims: lengths, memory: feed.memory }
  return { dtype, dims: lengths, data: feed.data, ...(feed.isConstant && { isConstant: true }) }
}

/** Compiles graphs on a backend. */
export class Engine {
  readonly #backend: Backend
  #nextMemory = 0

  constructor(backend: Backend) {
    this.#backend = backend
  }

  /** Compiles the computation of `outputs`. */
  async compile(outputs: Readonly<Record<string, Tensor>>, options: CompileOptions = {}): Promise<Executable> {
    const { dequantize, mapOnce } = options
    const products = hasTurned(Object.values(outputs))
      ? await this.resolveProducts(options.quantizedProducts ?? 'exact', options.threads)
      : 'exact'
    const lowered = lowerToOnnx(outputs, { target: this.#backend.target, dequantize, mapOnce, products })
    for (const { weight } of lowered.weights) {
      const pending = weight as { isPending?: boolean; load?(): Promise<unknown> }
      if (pending.isPending) await pending.load?.()
    }
    return new Executable(await this.#backend.load(lowered, options), lowered)
  }

  /**
   * What `quantizedProducts` comes to here: `auto` is replaced by what was measured on this processor, or is measured now.
   *
   * @throws for a value that is not known
   */
  async resolveProducts(wanted: QuantizedProducts, threads?: number): Promise<IntegerProducts> {
    if (!QUANTIZED_PRODUCTS.includes(wanted)) {
      throw new Error(
        `quantizedProducts is "${wanted}", expected one of ${QUANTIZED_PRODUCTS.join(', ')}.${didYouMean(String(wanted), QUANTIZED_PRODUCTS)}`,
      )
    }
    if (wanted !== 'auto') return wanted
    return (await this.#backend.fastestProducts?.(this, threads)) ?? 'exact'
  }

  /**
   * Memory that stays with the engine until it is freed, filled with zeros.
   *
   * @param sizes the number of float32 values of each
   * @throws when there is not so much memory
   */
  async allocate(sizes: readonly number[]): Promise<Memory[]> {
    const memories = sizes.map(size => ({ id: this.#nextMemory++, size }))
    await this.#backend.allocate(memories)
    return memories
  }

  /** Copies between memories, in the order given and after all runs that were asked for before. */
  async copy(copies: readonly MemoryCopy[]): Promise<void> {
    await this.#backend.copy(copies)
  }

  /** Gives memory back; runs that were asked for before still have it. */
  async free(memories: readonly Memory[]): Promise<void> {
    await this.#backend.free(memories)
  }

  /** Ends the backend: its thread and everything it holds. */
  async dispose(): Promise<void> {
    await this.#backend.dispose()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose()
  }
}

/** Whether any quantised matrix is held in the form that 8-bit arithmetic reads. */
function hasTurned(outputs: readonly Tensor[]): boolean {
  return reachableNodes(outputs).some(
    ({ op, attributes }) => op === 'Dequantize' && (attributes.layout as QuantizedMatrix).turned,
  )
}

let shared: Promise<Engine> | undefined

/** The engine that is used where none is given; it is made at the first call. Throws outside Node. */
export function defaultEngine(): Promise<Engine> {
  shared ??= import('./node/backend.ts').then(({ NodeBackend }) => new Engine(new NodeBackend()))
  return shared
}
