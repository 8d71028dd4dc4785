/** @file Gradient cases: running sums and the largest elements. */
import * as g from '../../graph/index.ts'
import { declared, float, type GradientCase, given } from './finite-differences.ts'

const distinct = () =>
  given([
    [1, 9, 4, -3],
    [8, 3, 11, 5],
  ])

/** Running sums and the largest elements. */
export const RANKING_CASES: readonly GradientCase[] = [
  ...[0, 1, -1].flatMap(axis =>
    [false, true].map(reverse => ({
      name: `CumSum along ${axis}${reverse ? ' from the end' : ''}`,
      inputs: [float(2, 3, 2)],
      build: (x: g.Tensor) => g.cumulativeSum(g.mul(x, x), axis, reverse),
    })),
  ),
  {
    name: 'CumSum along a symbolic axis',
    inputs: [declared(float(2, 3), 'batch', 'n')],
    build: x => g.cumulativeSum(x, 1),
  },
  { name: 'TopK of two', inputs: [distinct()], build: x => g.topK(g.mul(x, x), 2).values },
  { name: 'TopK of all', inputs: [distinct()], build: x => g.mul(g.topK(x, 4).values, x) },
  {
    name: 'TopK, scattered back by its positions',
    inputs: [distinct(), float(2, 4)],
    build: (x, y) => {
      const { values, indices } = g.topK(x, 2)
      return g.mul(g.scatterAddElements(g.mul(x, 0), indices, values, 1), y)
    },
  },
]
