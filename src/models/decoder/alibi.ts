/** @file Linear biases in place of positions (ALiBi, arXiv 2108.12409). */
import {
  cast,
  cumulativeSum,
  type Dim,
  type Graph,
  mul,
  range,
  sub,
  type Tensor,
  unsqueeze,
} from '../../graph/index.ts'

/** How steep the bias of each head is: powers of one base, and between them those of its root where heads are left. */
export function alibiSlopes(heads: number): number[] {
  const power = 2 ** Math.floor(Math.log2(heads))
  const base = (count: number) => 2 ** -(2 ** -(Math.log2(count) - 3))
  const first = Array.from({ length: power }, (_, i) => base(power) ** (i + 1))
  const rest = Array.from({ length: heads - power }, (_, i) => base(2 * power) ** (2 * i + 1))
  return [...first, ...rest]
}

/**
 * What is added to the scores of each key: its position times the head's slope, `[batch or 1, heads, 1, total]`.
 *
 * @param total the number of keys, those of a cache included
 * @param attentionMask int64 `[batch, total]`: padding is not counted
 */
export function alibiBias(graph: Graph, heads: number, total: Dim, attentionMask?: Tensor): Tensor {
  const positions = attentionMask
    ? mul(sub(cumulativeSum(attentionMask, 1), 1), attentionMask)
    : unsqueeze(range(graph, total), [0])
  const slopes = graph.constant(alibiSlopes(heads), 'float32', [1, heads, 1, 1])
  return mul(cast(unsqueeze(positions, [1, 2]), 'float32'), slopes)
}
