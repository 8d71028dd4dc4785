/** @file Gradient cases: matrix products. */
import * as g from '../../graph/index.ts'
import { declared, float, type GradientCase } from './finite-differences.ts'

const shapes = (leadingA: number[], leadingB: number[], transA: boolean, transB: boolean) => [
  float(...leadingA, ...(transA ? [3, 2] : [2, 3])),
  float(...leadingB, ...(transB ? [4, 3] : [3, 4])),
]

const products: GradientCase[] = [false, true].flatMap(transA =>
  [false, true].flatMap(transB =>
    [1, 0.5].flatMap(alpha =>
      (
        [
          ['matrices', [], []],
          ['equal batches', [2], [2]],
          ['a matrix for all batches of a', [2], []],
          ['two batch axes of a, a matrix b', [2, 2], []],
          ['a matrix for all batches of b', [], [2]],
          ['batches broadcast both ways', [2, 1], [1, 2]],
          ['a of more axes', [2, 2], [2]],
        ] as [string, number[], number[]][]
      ).map(([name, leadingA, leadingB]) => ({
        name: `MatMul of ${name}${transA ? ', transA' : ''}${transB ? ', transB' : ''}${alpha === 1 ? '' : ', alpha'}`,
        inputs: shapes(leadingA, leadingB, transA, transB),
        build: (a: g.Tensor, b: g.Tensor) => g.matmul(a, b, { transA, transB, alpha }),
      })),
    ),
  ),
)

const layers: GradientCase[] = [false, true].flatMap(transposed =>
  [false, true].flatMap(withBias =>
    [[2], [2, 2], [2, 1, 2], []].map(rows => ({
      name: `Linear of [${[...rows, 3]}]${withBias ? ' with bias' : ''}${transposed ? ', transposed' : ''}`,
      inputs: [float(...rows, 3), transposed ? float(3, 4) : float(4, 3), ...(withBias ? [float(4)] : [])],
      build: (x: g.Tensor, weight: g.Tensor, bias?: g.Tensor) => g.linear(x, weight, bias, transposed),
    })),
  ),
)

/** Matrix products and dense layers. */
export const MATMUL_CASES: readonly GradientCase[] = [
  ...products,
  ...layers,
  {
    name: 'Linear with symbolic rows',
    inputs: [declared(float(2, 3, 2), 'batch', 'sequence', 2), float(4, 2), float(4)],
    build: (x, weight, bias) => g.linear(x, weight, bias),
  },
  {
    name: 'Linear, with respect to its bias alone',
    inputs: [float(2, 3), float(4, 3), float(4)],
    wrt: [2],
    build: (x, weight, bias) => g.linear(x, weight, bias),
  },
  {
    name: 'MatMul with symbolic batch and one matrix',
    inputs: [declared(float(2, 3, 2), 'batch', 'sequence', 2), float(2, 4)],
    build: (a, b) => g.matmul(a, b),
  },
]
