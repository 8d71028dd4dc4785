/** @file A parameter: a tensor of the model with a place for its values. */
import { dequantize, type Graph, type Tensor, type Traceable, type Weight } from '../graph/index.ts'
import { CODEBOOKS, hasCodebook, type QuantizedTensor } from '../quantization/index.ts'
import type { Random } from '../util/random.ts'
import { readSourceFloat32, type TensorSource } from '../weights/index.ts'
import type { Gradients } from './parameter-vector.ts'

/** Draws the first values of a parameter. */
export type Initializer = (random: Random, shape: readonly number[]) => Float32Array

/** What happens around the steps that change a parameter; see {@link Parameter.hook}. */
export interface UpdateHook {
  /** Before the first step of a training of so many steps, where the length is known. */
  beforeTraining?(plan: { totalSteps: number }): void
  /** Before a step: the gradients may be changed in place. `step` counts from 1. */
  beforeStep?(grads: Gradients, step: number): void
  /** After a step: values may be changed in place. */
  afterStep?(grads: Gradients, step: number): void
  /** What a checkpoint must hold so that a training resumes as if it had not stopped; JSON. */
  state?(): unknown
  /** Continues from {@link UpdateHook.state}. */
  loadState?(state: unknown): void
}

/** How a parameter is made. */
export interface ParameterOptions {
  /** Whether training may change it (true by default). */
  requiresGrad?: boolean
  /** Draws its values where no checkpoint gives them. */
  init?: Initializer
  /** Whether it is no parameter but a constant that checkpoints hold (false): it never trains and is not counted. */
  isBuffer?: boolean
  /** Whether its values are whole numbers from 0 to 2^24, which files hold as int32 (false). */
  isIndex?: boolean
}

/**
 * A named tensor of a model. Its values lie in a file (`source`), in packed form (`quantized`), in memory (`data`), or
 * nowhere yet: then only its
 * shape is known, which is enough to count.
 */
export class Parameter implements Traceable, Weight {
  readonly shape: readonly number[]
  readonly dtype = 'float32' as const
  /** Its path in the model that it was last enumerated in; for messages and node names. */
  name = ''
  requiresGrad: boolean
  /** Whether it is a constant that checkpoints hold: `namedTensors` lists it and `namedParameters` does not. */
  readonly isBuffer: boolean
  /** Whether it holds whole numbers, which files hold as int32. */
  readonly isIndex: boolean
  /** Told of the steps that an optimizer takes on this parameter; one hook may serve many. */
  hook: UpdateHook | undefined
  init: Initializer | undefined
  #source: TensorSource | undefined
  #quantized: QuantizedTensor | undefined
  #data: Float32Array | undefined
  #isShared = false
  #compute: (() => Promise<Float32Array>) | undefined
  #draw: (() => Float32Array) | undefined
  #varies: boolean | undefined
  #version = 0

  constructor(shape: readonly number[], options: ParameterOptions = {}) {
    this.shape = shape
    this.isBuffer = options.isBuffer ?? false
    this.isIndex = options.isIndex ?? false
    this.requiresGrad = options.requiresGrad ?? !this.isBuffer
    this.init = options.init
  }

  /** A parameter with values. Throws when their number does not match the shape. */
  static from(
    data: Float32Array | readonly number[],
    shape: readonly number[],
    options: ParameterOptions = {},
  ): Parameter {
    const parameter = new Parameter(shape, options)
    parameter.data = data instanceof Float32Array ? data : Float32Array.from(data)
    return parameter
  }

  /**
   * A parameter whose values are worked out when they are first needed, for example from weights that lie in a file.
   * The result is kept; aliases share it.
   */
  static computed(
    shape: readonly number[],
    compute: () => Promise<Float32Array>,
    options: ParameterOptions = {},
  ): Parameter {
    const parameter = new Parameter(shape, options)
    let result: Promise<Float32Array> | undefined
    parameter.#compute = () => (result ??= compute())
    return parameter
  }

  /** A parameter whose values are drawn when they are first asked for: not at all where others take their place before. */
  static drawn(shape: readonly number[], draw: () => Float32Array, options: ParameterOptions = {}): Parameter {
    const parameter = new Parameter(shape, options)
    parameter.#draw = draw
    return parameter
  }

  /** The values in memory, drawn if they were not yet. */
  #values(): Float32Array | undefined {
    if (this.#draw) {
      this.#data = this.#draw()
      this.#draw = undefined
    }
    return this.#data
  }

  /** Counts how often it was given other values, by `data` or `source`. Writing into `data` in place does not show. */
  get version(): number {
    return this.#version
  }

  /**
   * Whether a compiled function reads its values at each run, so that they can change without a new compilation. By
   * default so if it trains. Adapters' parameters vary even while they are frozen.
   */
  get varies(): boolean {
    return this.#varies ?? this.requiresGrad
  }

  set varies(varies: boolean) {
    this.#varies = varies
  }

  /** Whether it varies even while it is frozen: an adapter's, of which a compiled function may read another's instead. */
  get isSwitchable(): boolean {
    return this.#varies === true
  }

  /**
   * Another parameter with the same values and its own `requiresGrad`. Training the one leaves the values of the other
   * as they are: they part when either of them is written.
   */
  alias(): Parameter {
    const { shape, requiresGrad, init, isBuffer, isIndex } = this
    const twin = new Parameter(shape, { requiresGrad, init, isBuffer, isIndex })
    twin.name = this.name
    twin.#source = this.#source
    twin.#quantized = this.#quantized
    twin.#data = this.#values()
    twin.#compute = this.#compute
    twin.#varies = this.#varies
    twin.hook = this.hook
    twin.#isShared = this.#isShared = this.#data !== undefined
    return twin
  }

  /** Whether its array also belongs to another parameter, so that it must be copied before it is written. */
  get isShared(): boolean {
    return this.#isShared
  }

  /** The number of elements. */
  get size(): number {
    return this.shape.reduce((a, b) => a * b, 1)
  }

  /** Whether its values are known: in memory, in a file, or by a computation. */
  get hasValue(): boolean {
    return this.isLoaded || this.#source !== undefined || this.#quantized !== undefined || this.#compute !== undefined
  }

  /** Whether its values are still to be worked out (see {@link Parameter.computed}). */
  get isPending(): boolean {
    return this.#data === undefined && this.#compute !== undefined
  }

  /** Whether its values are in memory. */
  get isLoaded(): boolean {
    return this.#data !== undefined || this.#draw !== undefined
  }

  /** Where the values lie. Throws when there are none. */
  get source(): TensorSource {
    const data = this.#values()
    if (data) {
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
      return { kind: 'memory', dtype: 'F32', shape: [...this.shape], bytes }
    }
    if (this.#compute) throw new Error(`The values of "${this.name}" have not been computed yet; call load() first`)
    if (this.#quantized) {
      throw new Error(`The values of "${this.name}" are quantised; read() dequantises them`)
    }
    if (!this.#source) {
      throw new Error(`The parameter "${this.name}" has no values: load a checkpoint, or initialise it from a seed`)
    }
    return this.#source
  }

  /** Takes the values from a file or from memory, without reading them. Throws when the shape differs. */
  set source(source: TensorSource) {
    if (source.shape.join() !== this.shape.join()) {
      throw new Error(`The parameter "${this.name}" has shape [${this.shape}], its source has [${source.shape}]`)
    }
    this.#version++
    this.#source = source
    this.#quantized = undefined
    this.#data = undefined
    this.#draw = undefined
    this.#compute = undefined
    this.#isShared = false
  }

  /** The packed form that the values are held in; undefined where they are not, or were loaded. */
  get quantized(): QuantizedTensor | undefined {
    return this.isLoaded || this.#compute ? undefined : this.#quantized
  }

  /**
   * Takes the values in packed form. The parameter is frozen, as in PEFT: what trains is beside it. Throws when the shape
   * differs.
   */
  set quantized(quantized: QuantizedTensor) {
    if (quantized.shape.join() !== this.shape.join()) {
      throw new Error(
        `The parameter "${this.name}" has shape [${this.shape}], its quantised form has [${quantized.shape}]`,
      )
    }
    this.#version++
    this.#quantized = quantized
    this.#source = undefined
    this.#data = undefined
    this.#draw = undefined
    this.#compute = undefined
    this.#isShared = false
    this.requiresGrad = false
  }

  /** The values in memory, row major. Throws when they were not loaded: `await parameter.load()` does that. */
  get data(): Float32Array {
    const data = this.#values()
    if (!data) throw new Error(`The values of "${this.name}" are not in memory; call load() first`)
    return data
  }

  /** Replaces the values. Throws when their number does not match the shape. */
  set data(data: Float32Array) {
    if (data.length !== this.size) {
      throw new Error(
        `The parameter "${this.name}" of shape [${this.shape}] takes ${this.size} values, got ${data.length}`,
      )
    }
    this.#version++
    this.#data = data
    this.#draw = undefined
    this.#compute = undefined
    this.#isShared = false
  }

  /** Reads the values into memory, where they stay. */
  async load(): Promise<Float32Array> {
    if (this.#data === undefined && this.#compute) {
      const compute = this.#compute
      const data = await compute()
      // Someone may have set other values in the meantime. The array belongs to all aliases.
      if (this.#compute === compute) {
        this.#data = data
        this.#compute = undefined
        this.#isShared = true
      }
    }
    this.#data = this.#values() ?? (await this.#read())
    return this.#data
  }

  /** Reads the values without keeping them. */
  async read(): Promise<Float32Array> {
    return this.#values() ?? (this.#compute ? this.load() : this.#read())
  }

  #read(): Promise<Float32Array> {
    return this.#quantized ? this.#quantized.read() : readSourceFloat32(this.source)
  }

  /** In a graph: what it was bound to there (an input that can change), otherwise a constant. */
  trace(graph: Graph): Tensor {
    return graph.bound(this) ?? graph.resolve(this) ?? this.#constant(graph)
  }

  #constant(graph: Graph): Tensor {
    const { quantized } = this
    if (!quantized) return graph.weight(this)
    const known = graph.bound(quantized)
    if (known) return known
    const { layout, parts } = quantized
    const codebook = hasCodebook(layout.scheme) ? [...CODEBOOKS[layout.scheme]] : undefined
    const tensor = dequantize(graph, layout, parts, codebook)
    graph.bind(quantized, tensor)
    return tensor
  }
}
