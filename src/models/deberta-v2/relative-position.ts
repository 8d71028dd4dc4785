/** @file The distances between tokens that DeBERTa's attention looks up embeddings for. */
import {
  add,
  addDims,
  type Dim,
  expand,
  type Graph,
  gather,
  maximum,
  minimum,
  range,
  slice,
  sub,
  type Tensor,
  unsqueeze,
} from '../../graph/index.ts'
import type { DebertaV2Config } from '../config.ts'

/** How distances fall into classes. */
export interface DistanceOptions {
  /** The classes of distances of one sign; a class each where it is not positive. */
  buckets: number
  /** The distance from which all are the same. */
  maxDistance: number
}

/** What the configuration says of distances. */
export function distanceOptions(config: DebertaV2Config): DistanceOptions {
  const { position_buckets: buckets, max_relative_positions: most, max_position_embeddings: positions } = config
  return { buckets, maxDistance: most < 1 ? positions : most }
}

/** How many classes of distances of one sign there are: half the rows of the table of embeddings. */
export function distanceSpan({ buckets, maxDistance }: DistanceOptions): number {
  return buckets > 0 ? buckets : maxDistance
}

/**
 * The row of the table for each distance (query minus key) from `-maxDistance` to `maxDistance`: near distances have a
 * row each, farther ones share rows for logarithmically widening ranges.
 */
export function distanceRows(options: DistanceOptions): number[] {
  const { buckets, maxDistance } = options
  const span = distanceSpan(options)
  const middle = Math.floor(buckets / 2)
  // In single precision, as the models were trained: a boundary may lie on a whole number.
  const wide = (distance: number) => {
    const share = Math.fround(Math.log(Math.fround(distance / middle)))
    const whole = Math.fround(Math.log(Math.fround((maxDistance - 1) / middle)))
    return Math.ceil(Math.fround(Math.fround(share / whole) * (middle - 1))) + middle
  }
  return Array.from({ length: 2 * maxDistance + 1 }, (_, i) => {
    const signed = i - maxDistance
    const distance = Math.abs(signed)
    const bucket = buckets <= 0 || distance <= middle ? signed : Math.sign(signed) * wide(distance)
    return Math.min(Math.max(bucket + span, 0), 2 * span - 1)
  })
}

/** The rows of the table for each pair of query and key, made once for each number of heads and rows of a batch. */
export class RelativePositions {
  readonly #rows: Tensor
  readonly #expanded = new Map<string, Tensor>()

  /**
   * @param queries the number of queries, which are the last of the `past + queries` positions
   * @param past how many keys of a cache stand before the new ones
   */
  constructor(graph: Graph, queries: Dim, past: Dim, options: DistanceOptions) {
    const total = addDims(past, queries)
    const positions = range(graph, total)
    const distance = sub(unsqueeze(slice(positions, 0, past, total), [1]), unsqueeze(positions, [0]))
    const { maxDistance } = options
    const index = add(minimum(maximum(distance, -maxDistance), maxDistance), maxDistance)
    const table = distanceRows(options)
    this.#rows = gather(graph.constant(table, 'int64', [table.length]), index)
  }

  /** The rows as indices of a tensor `[batch, heads, queries, …]`: int64 `[batch, heads, queries, keys]`. */
  expanded(batch: Dim, heads: number): Tensor {
    const key = `${batch} ${heads}`
    let tensor = this.#expanded.get(key)
    if (!tensor) {
      tensor = expand(unsqueeze(this.#rows, [0, 1]), [batch, heads, ...this.#rows.shape])
      this.#expanded.set(key, tensor)
    }
    return tensor
  }
}
