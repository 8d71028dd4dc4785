/** @file Gradient cases: convolutions, pooling and padding. */
import * as g from '../../graph/index.ts'
import { declared, float, type GradientCase, given } from './finite-differences.ts'

interface Window extends g.ConvolutionOptions {
  kernel: number[]
  lengths: number[]
}

const windows: Record<string, Window> = {
  'one axis': { lengths: [5], kernel: [3] },
  'one axis, padding': { lengths: [4], kernel: [3], padding: 1 },
  'one axis, padding of two sizes': { lengths: [4], kernel: [2], padding: [[2, 1]] },
  'one axis, a stride that leaves elements over': { lengths: [6], kernel: [2], stride: 3, padding: 1 },
  'one axis, dilation': { lengths: [7], kernel: [3], dilation: 2, padding: 1 },
  'one axis, stride and dilation': { lengths: [8], kernel: [2], stride: 2, dilation: 3, padding: 1 },
  'one axis, a kernel of one element under a stride': { lengths: [6], kernel: [1], stride: 4 },
  'two axes': { lengths: [3, 4], kernel: [2, 3] },
  'two axes, all at once': {
    lengths: [6, 5],
    kernel: [2, 3],
    stride: [2, 1],
    padding: [[1, 0], 1],
    dilation: [2, 1],
  },
  'three axes': { lengths: [2, 3, 3], kernel: [2, 2, 1], padding: [0, 1, 0], stride: [1, 2, 2] },
}

const convolutions: GradientCase[] = Object.entries(windows).flatMap(([name, { lengths, kernel, ...options }]) =>
  [1, 2].map(groups => ({
    name: `Conv along ${name}${groups > 1 ? ', in groups' : ''}`,
    inputs: [float(2, 2, ...lengths), float(4, 2 / groups, ...kernel), float(4)],
    build: (x: g.Tensor, weight: g.Tensor, bias: g.Tensor) => g.convolution(x, weight, bias, { ...options, groups }),
  })),
)

const transposed: GradientCase[] = [1, 2].flatMap(groups => [
  {
    name: `ConvTranspose along one axis, groups ${groups}`,
    inputs: [float(2, 4, 3), float(4, 2 / groups, 3), float(2)],
    build: (x: g.Tensor, weight: g.Tensor, bias: g.Tensor) =>
      g.transposedConvolution(x, weight, bias, { stride: 3, padding: 1, outputPadding: 2, groups }),
  },
  {
    name: `ConvTranspose along two axes, groups ${groups}`,
    inputs: [float(2, 4, 2, 3), float(4, 2 / groups, 2, 3)],
    build: (x: g.Tensor, weight: g.Tensor) =>
      g.transposedConvolution(x, weight, undefined, { stride: [2, 1], dilation: [1, 2], padding: [0, 1], groups }),
  },
])

/** Distinct values further apart than the step of the differences, so that no maximum changes its place. */
const distinct = (...dims: number[]) => {
  const input = float(...dims)
  input.data.data.forEach((_, i) => {
    input.data.data[i] = ((i * 7) % input.data.data.length) / 4 - 1
  })
  return input
}

/** Convolutions, pooling and padding. */
export const CONV_CASES: readonly GradientCase[] = [
  ...convolutions,
  ...transposed,
  {
    name: 'Conv with symbolic batch and length',
    inputs: [declared(float(2, 2, 5), 'batch', 2, 'n'), float(3, 2, 2)],
    build: (x, weight) => g.convolution(x, weight, undefined, { padding: 1 }),
  },
  {
    name: 'Conv with symbolic lengths under strides, in groups',
    inputs: [declared(float(2, 4, 6, 4), 'batch', 4, '3*n', '2*m'), float(4, 2, 2, 3), declared(float(2), 'n')],
    wrt: [0, 1],
    build: (x, weight, n) =>
      g.mul(g.convolution(x, weight, undefined, { stride: [3, 2], padding: [0, 1], groups: 2 }), g.unsqueeze(n, [1])),
  },
  {
    name: 'Conv with respect to its bias alone',
    inputs: [float(2, 2, 3), float(3, 2, 2), float(3)],
    wrt: [2],
    build: (x, weight, bias) => g.convolution(x, weight, bias),
  },
  { name: 'MaxPool of two axes', inputs: [distinct(2, 2, 4, 6)], build: x => g.maxPool(x, 2) },
  {
    name: 'MaxPool of windows that overlap',
    inputs: [distinct(2, 2, 5, 4)],
    build: x => g.maxPool(x, 3, { stride: 1, padding: 1 }),
  },
  {
    name: 'MaxPool with symbolic batch',
    inputs: [declared(distinct(2, 1, 6), 'batch', 1, '2*n'), declared(given([1, 1, 1]), 'n')],
    wrt: [0],
    build: (x, n) => g.mul(g.maxPool(x, 2), n),
  },
  {
    name: 'averagePool',
    inputs: [float(2, 2, 4, 5)],
    build: x => g.averagePool(x, [2, 3], { stride: 2, padding: [1, 0] }),
  },
  ...(['reflect', 'replicate', 'circular'] as const).flatMap(mode => [
    { name: `padAxis, ${mode}`, inputs: [float(2, 4)], build: (x: g.Tensor) => g.padAxis(x, 1, 2, 1, mode) },
    {
      name: `padAxis of a symbolic length, ${mode}`,
      inputs: [declared(float(3, 2), 'n', 2)],
      build: (x: g.Tensor) => g.padAxis(x, 0, 1, 2, mode),
    },
  ]),
]
