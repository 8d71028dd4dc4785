/** @file Gradient cases: reductions, softmax, normalisations and cross-entropy. */
import * as g from '../../graph/index.ts'
import { declared, float, type GradientCase, given } from './finite-differences.ts'

const axes: (readonly number[] | undefined)[] = [undefined, [0], [1], [-1], [0, 2], [0, 1, 2]]

const reductions: GradientCase[] = axes.flatMap(over =>
  [false, true].flatMap(keepDims => [
    {
      name: `ReduceSum over ${over ?? 'all'}${keepDims ? ', keepDims' : ''}`,
      inputs: [float(2, 3, 2)],
      build: (x: g.Tensor) => g.sum(g.mul(x, x), over, keepDims),
    },
    {
      name: `mean over ${over ?? 'all'}${keepDims ? ', keepDims' : ''}`,
      inputs: [float(2, 3, 2)],
      build: (x: g.Tensor) => g.mean(g.mul(x, x), over, keepDims),
    },
    {
      name: `ReduceMax over ${over ?? 'all'}${keepDims ? ', keepDims' : ''}`,
      inputs: [
        given([
          [
            [1, 9],
            [4, 2],
            [5, 12],
          ],
          [
            [8, 3],
            [11, 6],
            [7, 10],
          ],
        ]),
      ],
      build: (x: g.Tensor) => g.max(x, over, keepDims),
    },
  ]),
)

const softmaxes: GradientCase[] = [0, 1, 2, -1].flatMap(axis => [
  { name: `Softmax along ${axis}`, inputs: [float(2, 3, 2)], build: (x: g.Tensor) => g.softmax(x, axis) },
  { name: `LogSoftmax along ${axis}`, inputs: [float(2, 3, 2)], build: (x: g.Tensor) => g.logSoftmax(x, axis) },
])

const rows = (...dims: number[]) => [float(...dims, 4), float(4), float(4)] as const

const normalisations: GradientCase[] = [[3], [2, 2], []].flatMap(leading => {
  const [x, weight, bias] = rows(...leading)
  const shape = `[${[...leading, 4]}]`
  return [
    {
      name: `LayerNorm of ${shape}`,
      inputs: [x, weight, bias],
      build: (x: g.Tensor, w: g.Tensor, b: g.Tensor) => g.layerNorm(x, w, b, 1e-5),
    },
    {
      name: `LayerNorm of ${shape} without bias`,
      inputs: [x, weight],
      build: (x: g.Tensor, w: g.Tensor) => g.layerNorm(x, w, undefined, 0.1),
    },
    { name: `RmsNorm of ${shape}`, inputs: [x, weight], build: (x: g.Tensor, w: g.Tensor) => g.rmsNorm(x, w, 0.1) },
  ]
})

const losses: GradientCase[] = (['mean', 'sum', 'none'] as const).flatMap(reduction => [
  {
    name: `CrossEntropy, ${reduction}`,
    inputs: [float(3, 4), given([0, 3, 1], 'int64')],
    build: (logits: g.Tensor, labels: g.Tensor) => g.crossEntropy(logits, labels, { reduction }),
  },
  {
    name: `CrossEntropy with ignored rows, ${reduction}`,
    inputs: [
      float(2, 2, 3),
      given(
        [
          [0, -100],
          [2, -100],
        ],
        'int64',
      ),
    ],
    build: (logits: g.Tensor, labels: g.Tensor) => g.crossEntropy(logits, labels, { reduction }),
  },
])

/** Reductions and what is made of them. */
export const REDUCE_CASES: readonly GradientCase[] = [
  ...reductions,
  ...softmaxes,
  ...normalisations,
  ...losses,
  {
    name: 'CrossEntropy with another label to ignore',
    inputs: [float(3, 4), given([0, 3, 0], 'int64')],
    build: (logits, labels) => g.crossEntropy(logits, labels, { ignoreIndex: 0 }),
  },
  {
    name: 'mean along a symbolic axis',
    inputs: [declared(float(3, 2), 'rows', 2)],
    build: x => g.mean(g.mul(x, x), [0]),
  },
  {
    name: 'WithGradient',
    inputs: [float(3, 2)],
    build: x => g.withGradient(g.sum(g.mul(g.stopGradient(x), g.stopGradient(x))), [[x, g.mul(x, 2)]]),
  },
  { name: 'mseLoss', inputs: [float(3, 2), float(3, 2)], build: (a, b) => g.mseLoss(a, b) },
]
