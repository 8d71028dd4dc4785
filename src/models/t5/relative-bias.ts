/** @file T5's positions: a learned bias on the scores for each class of distances between query and key. */
import {
  add,
  addDims,
  concat,
  type Dim,
  dimValue,
  expand,
  gather,
  maximum,
  minimum,
  range,
  sub,
  type Tensor,
  transpose,
  unsqueeze,
} from '../../graph/index.ts'

/** How distances fall into classes. */
export interface BucketOptions {
  /** Whether keys after the query have classes of their own; otherwise they count as distance 0. */
  bidirectional: boolean
  buckets: number
  /** The distance from which all belong to the last class. */
  maxDistance: number
}

/**
 * The class of each distance (key minus query) from `-maxDistance` to `maxDistance`: small distances have a class each,
 * larger ones share classes that widen logarithmically.
 */
export function distanceBuckets({ bidirectional, buckets, maxDistance }: BucketOptions): number[] {
  const count = bidirectional ? Math.floor(buckets / 2) : buckets
  const exact = Math.floor(count / 2)
  // In single precision, as the models were trained: a boundary may lie on a whole number.
  const wide = (distance: number) => {
    const share = Math.fround(Math.log(distance / exact)) / Math.fround(Math.log(maxDistance / exact))
    return Math.min(exact + Math.trunc(Math.fround(Math.fround(share) * (count - exact))), count - 1)
  }
  return Array.from({ length: 2 * maxDistance + 1 }, (_, i) => {
    const signed = i - maxDistance
    const distance = bidirectional ? Math.abs(signed) : Math.max(-signed, 0)
    return (bidirectional && signed > 0 ? count : 0) + (distance < exact ? distance : wide(distance))
  })
}

/** Where the biases come from: an embedding layer, or whatever took its place. */
export interface BiasTable {
  /** @param buckets int64 `[...]` @returns `[..., heads]` */
  forward(buckets: Tensor): Tensor
}

/**
 * The bias of one forward pass. The first layer brings the table, all layers use it. Its tensors are made once for each
 * length of a prefix.
 */
export class RelativeBias {
  /** The table of the first layer, once that has run. */
  table: BiasTable | undefined
  readonly #options: BucketOptions
  readonly #positions: Tensor
  readonly #past: Dim
  readonly #byPrefix = new Map<Dim, Tensor>()

  /**
   * @param positions int64 `[batch or 1, queries]`, those of the queries and of the new keys
   * @param past how many keys of a cache stand before the new ones, at positions 0, 1, …
   */
  constructor(positions: Tensor, past: Dim, options: BucketOptions) {
    this.#positions = positions
    this.#past = past
    this.#options = options
  }

  /**
   * The bias `[batch or 1, heads, queries, prefix + past + queries]`. A prefix moves the keys after it to the right and
   * leaves the queries where they are, as in AdapterHub: a model that is trained with it learns so.
   */
  behind(prefix: Dim): Tensor {
    const known = this.#byPrefix.get(prefix)
    if (known) return known
    if (!this.table) throw new Error('T5: a layer asked for the relative bias before the first layer brought its table')
    const { maxDistance } = this.#options
    const { graph } = this.#positions
    const distance = sub(unsqueeze(this.#keys(prefix), [1]), unsqueeze(this.#positions, [2]))
    const index = add(minimum(maximum(distance, -maxDistance), maxDistance), maxDistance)
    const classes = distanceBuckets(this.#options)
    const buckets = gather(graph.constant(classes, 'int64', [classes.length]), index)
    const bias = transpose(this.table.forward(buckets), [0, 3, 1, 2])
    this.#byPrefix.set(prefix, bias)
    return bias
  }

  /** The positions of all keys, int64 `[batch or 1, prefix + past + queries]`. */
  #keys(prefix: Dim): Tensor {
    const { graph } = this.#positions
    const before = addDims(prefix, this.#past)
    if (before === 0) return this.#positions
    const [batch] = this.#positions.shape
    const earlier = expand(unsqueeze(range(graph, before), [0]), [batch, before])
    if (prefix === 0) return concat([earlier, this.#positions], 1)
    return concat([earlier, add(this.#positions, dimValue(graph, prefix))], 1)
  }
}
