/** @file For tests: a graph compiled, run once on data and freed again, on the CPU's kernels or on standard ones only. */
import { type Dim, type DType, evaluateDim, Graph, type Shape, type Tensor } from '../../graph/index.ts'
import { Random } from '../../util/random.ts'
import { type Backend, defaultEngine, Engine, type RunOptions } from '../engine.ts'
import { NodeBackend } from '../node/backend.ts'
import { type TensorData, tensorData } from '../tensor-data.ts'

/** Computes `outputs` for `feeds` on the shared engine. */
export async function evaluate(
  outputs: Readonly<Record<string, Tensor>>,
  feeds: Readonly<Record<string, TensorData>> = {},
  options: RunOptions = {},
  engine?: Engine,
): Promise<Record<string, TensorData>> {
  const executable = await (engine ?? (await defaultEngine())).compile(outputs)
  try {
    return await executable.run(feeds, options)
  } finally {
    await executable.dispose()
  }
}

/** An engine that is given models of standard operators only, as a browser's would be. */
export function standardEngine(): Engine {
  const node = new NodeBackend()
  const backend: Backend = {
    target: 'standard',
    load: (lowered, options) => node.load(lowered, options),
    allocate: memories => node.allocate(memories),
    copy: copies => node.copy(copies),
    free: memories => node.free(memories),
    dispose: () => node.dispose(),
  }
  return new Engine(backend)
}

/** Uniform float32 values in `[low, high)`, always the same ones for a seed. */
export function randomData(dims: readonly number[], seed: number, low = -1.5, high = 1.5): TensorData<Float32Array> {
  const random = new Random(seed)
  const size = dims.reduce((a, b) => a * b, 1)
  const data = Float32Array.from({ length: size }, () => low + (high - low) * random.uniform())
  return { dtype: 'float32', dims, data }
}

/** A graph whose inputs are collected together with random values for them. */
export class Feeder {
  readonly graph = new Graph()
  readonly feeds: Record<string, TensorData> = {}
  readonly bindings: Readonly<Record<string, number>>

  constructor(bindings: Readonly<Record<string, number>> = {}) {
    this.bindings = bindings
  }

  /** A float32 input with random values. */
  random(name: string, shape: Shape, low = -1.5, high = 1.5): Tensor {
    const dims = shape.map(dim => evaluateDim(dim, this.bindings))
    this.feeds[name] = randomData(dims, 17 + Object.keys(this.feeds).length, low, high)
    return this.graph.input(name, 'float32', shape)
  }

  /** An input with the given values. */
  values(name: string, dtype: DType, values: Parameters<typeof tensorData>[1], shape?: readonly Dim[]): Tensor {
    const data = tensorData(
      dtype,
      values,
      shape?.map(dim => evaluateDim(dim, this.bindings)),
    )
    this.feeds[name] = data
    return this.graph.input(name, dtype, shape ?? data.dims)
  }
}

/** The values of an output as plain numbers. */
export function numbers(tensor: TensorData): number[] {
  return Array.from(tensor.data as ArrayLike<number | bigint>, Number)
}

/** The largest difference between two lists of numbers, which must be equally long; NaN where either holds one. */
export function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.NaN
  let largest = 0
  for (let i = 0; i < a.length; i++) {
    const difference = a[i] === b[i] ? 0 : Math.abs(a[i] - b[i])
    if (!(difference <= largest)) largest = difference
    if (Number.isNaN(largest)) return largest
  }
  return largest
}
