/** @file Attention, its masks, and the keys and values that come from elsewhere (a cache, a prefix). */
import {
  add,
  addDims,
  cast,
  concat,
  type Dim,
  dropout,
  equal,
  type Graph,
  lessOrEqual,
  logicalAnd,
  matmul,
  mul,
  multiplyDims,
  range,
  reshape,
  slice,
  softmax,
  type Tensor,
  tanh,
  transpose,
  unsqueeze,
  where,
} from '../graph/index.ts'

/** The lowest float32: what is added to a score that must not count. */
const LOWEST = -3.4028234663852886e38

/** Keys and values of earlier positions, `[batch, heads, past, width]` each. */
export interface KeyValues {
  key: Tensor
  value: Tensor
}

/**
 * What an attention layer reads beside its own keys and values, and where it leaves them: past positions of a
 * generation. `past` has one entry a layer; each forward pass fills `present` in the order of the layers.
 *
 * In a model with an encoder it belongs to the decoder, whose cross-attention layers keep what they made of the
 * encoder's result: with `cross` the encoder is not needed, without it the pass fills `presentCross`.
 */
export class KeyValueCache {
  readonly past: readonly KeyValues[]
  readonly present: KeyValues[] = []
  /** The keys and values of the encoder's positions; they do not change while a text is generated. */
  readonly cross: readonly KeyValues[]
  readonly presentCross: KeyValues[] = []
  /**
   * Whether a sequence goes on that began in an earlier pass. What adapters put in front of every sequence is then in
   * `past` already.
   */
  readonly continues: boolean

  constructor(past: readonly KeyValues[], cross: readonly KeyValues[] = [], continues = past.length > 0) {
    this.past = past
    this.cross = cross
    this.continues = continues
  }

  /** How many positions came before. */
  get length(): Dim {
    return this.past[0]?.key.shape[2] ?? 0
  }
}

/** Layer by layer, the keys and values of one part of a sequence and of the part behind it; either may be empty. */
export function joinKeyValues(first: readonly KeyValues[], second: readonly KeyValues[]): readonly KeyValues[] {
  if (first.length === 0 || second.length === 0) return first.length ? first : second
  return first.map(({ key, value }, layer) => ({
    key: concat([key, second[layer].key], 2),
    value: concat([value, second[layer].value], 2),
  }))
}

/** Options of {@link attention}. */
export interface AttentionOptions {
  /** Added to the scores, broadcast to `[batch, heads, queries, past + keys]`. */
  mask?: Tensor
  /** The factor on the scores; `1 / sqrt(width)` by default. */
  scale?: number
  /** Bounds the scores smoothly, `softcap * tanh(score / softcap)`, before the mask is added. */
  softcap?: number
  /** The probability of dropping an attention weight while training. */
  dropout?: number
  /** Keys and values that stand before `key` and `value`: prefixes, earlier positions. */
  past?: readonly KeyValues[]
}

/**
 * Scaled dot-product attention (arXiv 1706.03762). Fewer key-value heads than query heads are shared by groups of
 * queries (arXiv 2305.13245); the groups are folded into rows, so that keys and values are never repeated.
 *
 * @param query `[batch, heads, queries, width]`
 * @param key `[batch, kvHeads, keys, width]`
 * @param value `[batch, kvHeads, keys, width]`
 * @returns `[batch, heads, queries, width]`
 */
export function attention(query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions = {}): Tensor {
  const [batch, heads, queries, width] = query.shape as [Dim, number, Dim, number]
  const kvHeads = key.shape[1] as number
  const groups = heads / kvHeads
  if (!Number.isInteger(groups)) {
    throw new Error(`attention: ${heads} query heads cannot share ${kvHeads} key-value heads equally`)
  }
  const { mask, scale = 1 / Math.sqrt(width), past = [] } = options
  const folded = groups === 1 ? query : reshape(query, [batch, kvHeads, -1, width])
  const unfold = (scores: Tensor) => (groups === 1 ? scores : reshape(scores, [batch, heads, queries, -1]))
  const fold = (scores: Tensor) =>
    groups === 1 ? scores : reshape(scores, [batch, kvHeads, multiplyDims(groups, queries), scores.shape[3]])
  const scoresOf = (keys: Tensor) => unfold(matmul(folded, keys, { transB: true, alpha: scale }))
  // The cache is never copied: its scores are computed apart, and only they are joined.
  const parts = [...past, { key, value }]
  let scores = concat(
    parts.map(part => scoresOf(part.key)),
    3,
  )
  if (options.softcap) scores = mul(tanh(mul(scores, 1 / options.softcap)), options.softcap)
  if (mask) scores = add(scores, mask)
  const weights = fold(dropout(softmax(scores, -1), options.dropout ?? 0))
  let start: Dim = 0
  const products = parts.map(part => {
    const end = addDims(start, part.key.shape[2])
    const own = slice(weights, 3, start, end)
    start = end
    return matmul(own, part.value)
  })
  const result = products.reduce((sum, product) => add(sum, product))
  return groups === 1 ? result : reshape(result, [batch, heads, queries, width])
}

/** `[batch, sequence, heads * width]` to `[batch, heads, sequence, width]`. */
export function splitHeads(x: Tensor, heads: number): Tensor {
  const [batch, sequence, hidden] = x.shape as [Dim, Dim, number]
  return transpose(reshape(x, [batch, sequence, heads, hidden / heads]), [0, 2, 1, 3])
}

/** `[batch, heads, sequence, width]` to `[batch, sequence, heads * width]`. */
export function mergeHeads(x: Tensor): Tensor {
  const [batch, heads, sequence, width] = x.shape as [Dim, number, Dim, number]
  return reshape(transpose(x, [0, 2, 1, 3]), [batch, sequence, heads * width])
}

/** Turns a boolean mask (true: may be seen) into what is added to the scores. */
export function additiveMask(visible: Tensor): Tensor {
  return where(visible, 0, LOWEST)
}

/**
 * The mask of an encoder: every query sees every key that is not padding.
 *
 * @param attentionMask int64 `[batch, keys]`, 1 where a token stands
 * @returns additive, `[batch, 1, 1, keys]`
 */
export function paddingMask(attentionMask: Tensor): Tensor {
  return additiveMask(unsqueeze(cast(attentionMask, 'bool'), [1, 2]))
}

/**
 * The mask of a decoder: each query sees the keys up to its own position that are not padding.
 *
 * @param queries the number of queries, which are the last of the `past + queries` positions
 * @param attentionMask int64 `[batch, past + queries]`, or undefined when nothing is padded
 * @returns additive, `[batch or 1, 1, queries, past + queries]`
 */
export function causalMask(graph: Graph, queries: Dim, past: Dim = 0, attentionMask?: Tensor): Tensor {
  const total = addDims(past, queries)
  const positions = range(graph, total)
  const visible = lessOrEqual(unsqueeze(positions, [0]), unsqueeze(slice(positions, 0, past, total), [1]))
  if (!attentionMask) return additiveMask(unsqueeze(visible, [0, 1]))
  return additiveMask(logicalAnd(unsqueeze(visible, [0, 1]), unsqueeze(cast(attentionMask, 'bool'), [1, 2])))
}

/**
 * The mask of a decoder that reads several texts in a row: each query sees the keys of its own text up to its own
 * position. Padding, which has a number of its own, sees padding, so that no row of the scores is empty.
 *
 * @param segments int64 `[batch, sequence]`, the number of each token's text
 * @returns additive, `[batch, 1, sequence, sequence]`
 */
export function packedCausalMask(segments: Tensor): Tensor {
  const positions = range(segments.graph, segments.shape[1])
  const causal = lessOrEqual(unsqueeze(positions, [0]), unsqueeze(positions, [1]))
  const same = equal(unsqueeze(segments, [1]), unsqueeze(segments, [2]))
  return additiveMask(unsqueeze(logicalAnd(same, unsqueeze(causal, [0])), [1]))
}
