/** @file What is kept of each example: in memory, or in a file. */

/** Keeps some values for each example. */
export interface ActivationStore {
  /** Keeps an example's values; once for each example. */
  write(example: number, values: readonly Float32Array[]): Promise<void>
  /** The values of an example, as they were written. */
  read(example: number): Float32Array[]
  /** Frees what it holds. */
  dispose(): Promise<void>
}

/** Keeps values in memory. */
export class MemoryStore implements ActivationStore {
  readonly #values = new Map<number, readonly Float32Array[]>()

  async write(example: number, values: readonly Float32Array[]): Promise<void> {
    this.#values.set(example, values)
  }

  read(example: number): Float32Array[] {
    return [...this.#values.get(example)!]
  }

  async dispose(): Promise<void> {
    this.#values.clear()
  }
}
