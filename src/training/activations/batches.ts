/** @file The batches in which examples are looked at, and where each example stands in them. */
import type { Feature } from '../../data/index.ts'
import type { Batch, DataCollator } from '../collate.ts'
import { lengthOf } from '../evaluation.ts'
import type { TrainableModel } from '../model.ts'
import { type Place, placesInPackedRows, placesInRows } from './places.ts'

/** What batches are made of. */
export interface BatchOptions<E> {
  model: TrainableModel
  items: readonly E[]
  /** Makes the batches of the training. */
  collate: DataCollator<E>
  /** Whether examples share rows in them. */
  isPacked: boolean
  /** Examples in a batch. */
  size: number
}

/** Examples by their positions in the data, and batches of them. */
export class ExampleBatches<E> {
  readonly count: number
  readonly #options: BatchOptions<E>

  constructor(options: BatchOptions<E>) {
    this.count = options.items.length
    this.#options = options
  }

  /** The inputs of a batch. */
  inputs(examples: readonly number[]): Batch {
    const { items, collate } = this.#options
    return collate(examples.map(i => items[i]))
  }

  /** Where the examples stand in their batch. */
  places(inputs: Batch, examples: readonly number[]): Place[] {
    const { model, isPacked, items } = this.#options
    if (!isPacked) return placesInRows(inputs, model.inputSpecs(), examples.length)
    return placesInPackedRows(examples.map(i => items[i]) as readonly unknown[] as readonly Feature[], this.tokenAxis)
  }

  /** The name of the axis of tokens. */
  get tokenAxis(): string {
    return String(this.#options.model.inputSpecs().input_ids.shape[1])
  }

  /** All examples in batches of similar length: always the same ones, so that a resumed training keeps the same values. */
  *all(): Generator<number[]> {
    const order = this.#byLength()
    for (let start = 0; start < order.length; start += this.#options.size) {
      yield order.slice(start, start + this.#options.size)
    }
  }

  /** A batch of a few examples of lengths as different as can be. */
  odd(): number[] {
    const order = this.#byLength()
    const last = order.length - 1
    const few = [last, 0, last >> 1, last >> 2].map(at => order[at])
    return [...new Set(few)].slice(0, this.#options.size)
  }

  /** By falling length: what takes most memory comes first. */
  #byLength(): number[] {
    const { items } = this.#options
    return items.map((_, i) => i).sort((a, b) => (lengthOf(items[b]) ?? 0) - (lengthOf(items[a]) ?? 0) || a - b)
  }
}
