/** @file The keys and values of earlier tokens, in buffers that change their size rarely. */
import type { TensorData } from '../runtime/index.ts'

/** One tensor of the cache: a name, heads and the width of a head. */
export interface StoredTensor {
  name: string
  heads: number
  width: number
}

/**
 * Buffers `[batch, heads, capacity, width]` that are filled from the front. The capacity is a multiple of `bucket`, so
 * that the engine sees few different shapes and a buffer is seldom copied.
 */
export class KeyValueStore {
  /** How many positions are filled. */
  length = 0
  /** How many there are. */
  capacity = 0
  readonly #batch: number
  readonly #bucket: number
  readonly #tensors: readonly StoredTensor[]
  readonly #buffers: Float32Array[]

  constructor(tensors: readonly StoredTensor[], batch: number, bucket: number) {
    this.#tensors = tensors
    this.#batch = batch
    this.#bucket = bucket
    this.#buffers = tensors.map(() => new Float32Array(0))
  }

  /** The buffers as inputs, by name. */
  feeds(): Record<string, TensorData> {
    return Object.fromEntries(
      this.#tensors.map(({ name, heads, width }, i) => {
        return [name, { dtype: 'float32', dims: [this.#batch, heads, this.capacity, width], data: this.#buffers[i] }]
      }),
    )
  }

  /** Adds `count` positions, `[batch, heads, count, width]` for each tensor in order. */
  append(rows: readonly Float32Array[], count: number): void {
    const before = this.capacity
    const needed = this.length + count
    if (needed > before) this.capacity = Math.ceil(needed / this.#bucket) * this.#bucket
    for (const [i, { heads, width }] of this.#tensors.entries()) {
      const planes = this.#batch * heads
      if (needed > before) {
        const larger = new Float32Array(planes * this.capacity * width)
        copyPlanes(larger, this.capacity * width, 0, this.#buffers[i], before * width, planes, this.length * width)
        this.#buffers[i] = larger
      }
      copyPlanes(
        this.#buffers[i],
        this.capacity * width,
        this.length * width,
        rows[i],
        count * width,
        planes,
        count * width,
      )
    }
    this.length = needed
  }
}

/** Copies the first `size` values of each plane of `from` to position `offset` of each plane of `to`. */
function copyPlanes(
  to: Float32Array,
  toStride: number,
  offset: number,
  from: Float32Array,
  fromStride: number,
  planes: number,
  size: number,
): void {
  for (let plane = 0; plane < planes; plane++) {
    to.set(from.subarray(plane * fromStride, plane * fromStride + size), plane * toStride + offset)
  }
}
