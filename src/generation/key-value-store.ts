/** @file The keys and values of earlier tokens, in memory of the engine that changes its size rarely. */
import type { Engine, Memory, MemoryCopy, OutputCopy, ResidentTensor } from '../runtime/index.ts'

/** One tensor of the cache: a name, heads and the width of a head. */
export interface StoredTensor {
  name: string
  heads: number
  width: number
}

/**
 * What a step adds to tensors of one form comes as one output, their rows under each other: fetching an output costs as
 * much as a small kernel.
 *
 * @returns the names of such outputs, each with the positions of its tensors among `tensors`
 */
export function addedOutputs(tensors: readonly StoredTensor[]): ReadonlyMap<string, readonly number[]> {
  const outputs = new Map<string, number[]>()
  for (const [i, { heads, width }] of tensors.entries()) {
    const name = `new.${heads}x${width}`
    outputs.set(name, [...(outputs.get(name) ?? []), i])
  }
  return outputs
}

/** Positions of one row of a store, and where they come to stand. */
export interface Span {
  store: KeyValueStore
  row: number
  from: number
  to: number
  count: number
}

/**
 * Memories `[rows, heads, capacity, width]` in the engine, filled from the front. They are never sent: a step is fed
 * them as they are, and what it adds is written behind what they hold. The capacity is a multiple of `bucket`, so that
 * memory is seldom copied; what is not filled holds zeros.
 */
export class KeyValueStore {
  /** How many positions are filled. */
  length = 0
  /** How many there are. */
  readonly capacity: number
  readonly rows: number
  readonly #engine: Engine
  readonly #tensors: readonly StoredTensor[]
  readonly #memories: readonly Memory[]

  private constructor(
    engine: Engine,
    tensors: readonly StoredTensor[],
    memories: readonly Memory[],
    size: { rows: number; capacity: number },
  ) {
    this.#engine = engine
    this.#tensors = tensors
    this.#memories = memories
    this.rows = size.rows
    this.capacity = size.capacity
  }

  /** A store of `rows` rows with room for at least `positions`. */
  static async create(
    engine: Engine,
    tensors: readonly StoredTensor[],
    { rows, positions, bucket }: { rows: number; positions: number; bucket: number },
  ): Promise<KeyValueStore> {
    const capacity = Math.ceil(positions / bucket) * bucket
    const memories = await engine.allocate(tensors.map(({ heads, width }) => rows * heads * capacity * width))
    return new KeyValueStore(engine, tensors, memories, { rows, capacity })
  }

  /** The memories as inputs, by name. */
  feeds(): Record<string, ResidentTensor> {
    return Object.fromEntries(
      this.#tensors.map(({ name, heads, width }, i) => {
        return [name, { dtype: 'float32', dims: [this.rows, heads, this.capacity, width], memory: this.#memories[i] }]
      }),
    )
  }

  /**
   * Where the outputs of {@link addedOutputs} are written, `[tensors * rows, heads, count, width]`: behind what is filled.
   * They count from {@link KeyValueStore.length} on, which is for the caller to raise.
   */
  appended(count: number): Record<string, OutputCopy[]> {
    return Object.fromEntries(
      [...addedOutputs(this.#tensors)].map(([name, tensors]) => [
        name,
        tensors.map((i, position) => {
          const { heads, width } = this.#tensors[i]
          const size = count * width
          const planes = this.rows * heads
          return {
            ...{ to: this.#memories[i], count: planes, size },
            ...{ fromOffset: position * planes * size, fromStride: size },
            ...{ toOffset: this.length * width, toStride: this.capacity * width },
          }
        }),
      ]),
    )
  }

  /** Fills row by row from other stores of the same tensors: entry `i` says what comes into row `i`. */
  async fill(rows: readonly (readonly Span[])[]): Promise<void> {
    const copies: MemoryCopy[] = []
    for (const [i, { heads, width }] of this.#tensors.entries()) {
      for (const [row, spans] of rows.entries()) {
        for (const { store, row: source, from, to, count } of spans) {
          if (count === 0) continue
          copies.push({
            ...{ from: store.#memories[i], to: this.#memories[i], count: heads, size: count * width },
            fromOffset: (source * heads * store.capacity + from) * width,
            fromStride: store.capacity * width,
            toOffset: (row * heads * this.capacity + to) * width,
            toStride: this.capacity * width,
          })
        }
      }
    }
    await this.#engine.copy(copies)
    this.length = Math.max(this.length, ...rows.flat().map(({ to, count }) => to + count))
  }

  /** Gives the memory back. */
  async free(): Promise<void> {
    await this.#engine.free(this.#memories)
  }
}
