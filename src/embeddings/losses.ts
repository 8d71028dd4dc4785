/** @file Losses of embeddings, for `valueAndGrad`. */
import {
  concat,
  crossEntropy,
  less,
  mseLoss,
  mul,
  range,
  reshape,
  sub,
  type Tensor,
  unsqueeze,
  where,
  zeros,
} from '../graph/index.ts'
import { cosineMatrix, cosines } from './vectors.ts'

/** Options of {@link multipleNegativesRankingLoss}. */
export interface RankingLossOptions {
  /** Cosines are multiplied by this before they are compared, the inverse of a temperature. Default 20. */
  scale?: number
  /** int64 `[batch]`, the candidate that belongs to each anchor; by default the positive in the same row. */
  labels?: Tensor
}

/**
 * Each anchor should be nearer to its positive than to all other positives of the batch, and to all negatives
 * (sentence-transformers' MultipleNegativesRankingLoss, arXiv 1705.00652): the cross entropy over scaled cosines. Larger
 * batches make it harder and better; no two rows of one should mean the same.
 *
 * @param anchors `[batch, width]`
 * @param positives `[batch, width]`
 * @param negatives any number of further candidates, `[rows, width]` each
 * @returns a scalar
 * @example
 * const step = await valueAndGrad(model.transformer, (_, { a_ids, a_mask, p_ids, p_mask }) =>
 *   multipleNegativesRankingLoss(
 *     model.embed({ input_ids: a_ids, attention_mask: a_mask }),
 *     model.embed({ input_ids: p_ids, attention_mask: p_mask }),
 *   ))
 */
export function multipleNegativesRankingLoss(
  anchors: Tensor,
  positives: Tensor,
  negatives: readonly Tensor[] = [],
  { scale = 20, labels }: RankingLossOptions = {},
): Tensor {
  const candidates = negatives.length ? concat([positives, ...negatives], 0) : positives
  const scores = mul(cosineMatrix(anchors, candidates), scale)
  return crossEntropy(scores, labels ?? range(anchors.graph, anchors.shape[0]))
}

/**
 * The mean squared difference between the cosine of each pair and its score (sentence-transformers'
 * CosineSimilarityLoss).
 *
 * @param a `[batch, width]`
 * @param b `[batch, width]`
 * @param scores float32 `[batch]`, from -1 to 1
 * @returns a scalar
 */
export function cosineSimilarityLoss(a: Tensor, b: Tensor, scores: Tensor): Tensor {
  return mseLoss(cosines(a, b), scores)
}

/** What stands in place of pairs that say nothing: its exponential is 0. */
const NOTHING = -1e12

/**
 * Pairs with a higher score should have a higher cosine than those with a lower one (CoSENT, sentence-transformers'
 * CoSENTLoss): `log(1 + sum exp(scale (cos_i - cos_j)))` over all pairs i, j of the batch with `score_i < score_j`. Only
 * the order of the scores counts, so they may have any range.
 *
 * @param a `[batch, width]`
 * @param b `[batch, width]`
 * @param scores float32 `[batch]`
 * @returns a scalar; 0 where all scores are equal
 */
export function cosentLoss(a: Tensor, b: Tensor, scores: Tensor, { scale = 20 }: { scale?: number } = {}): Tensor {
  const scaled = mul(cosines(a, b), scale)
  const below = less(unsqueeze(scores, [1]), unsqueeze(scores, [0]))
  const differences = where(below, sub(unsqueeze(scaled, [1]), unsqueeze(scaled, [0])), NOTHING)
  // The cross entropy of class 0, whose logit is 0, is the sum's logarithm.
  const row = concat([zeros(a.graph, [1, 1]), reshape(differences, [1, -1])], 1)
  return crossEntropy(row, range(a.graph, 1))
}
