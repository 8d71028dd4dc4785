/** @file Values that stay with an engine between runs: they are fed, written and moved without leaving it. */

/** Memory in an engine's hands: so many float32 values. See `Engine.allocate`. */
export interface Memory {
  readonly id: number
  /** How many values it holds. */
  readonly size: number
}

/** A tensor whose values lie in an engine's memory, row major from its beginning. */
export interface ResidentTensor {
  dtype: 'float32'
  dims: readonly number[]
  memory: Memory
}

/** `count` blocks of `size` values, of which the first begins at `offset` and each `stride` values after the last. */
export interface Blocks {
  count: number
  size: number
  fromOffset: number
  fromStride: number
  toOffset: number
  toStride: number
}

/** What is copied into memory of an output of a run, which then is not given back. */
export interface OutputCopy extends Blocks {
  to: Memory
}

/** What is copied from memory to other memory. */
export interface MemoryCopy extends OutputCopy {
  from: Memory
}
