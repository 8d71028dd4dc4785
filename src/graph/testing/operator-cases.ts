/** @file For tests: one case at least for each operator, with the shapes it must infer and those it must refuse. */

import * as g from '../index.ts'
import { type DType, type Graph, type Shape, type Tensor, toTensor } from '../index.ts'

/** A function that makes inputs: `t('float32', 'batch', 3)`. */
export type MakeInput = (dtype: DType, ...shape: Shape) => Tensor

/** An operator on operands, and its result: `int64[batch, 2]`, or part of the error. */
export interface OperatorCase {
  op: string
  build(input: MakeInput, graph: Graph): Tensor
  gives?: string
  refuses?: RegExp
}

const unary: OperatorCase[] = Object.entries({
  Neg: g.neg,
  Abs: g.abs,
  Sign: g.sign,
  Exp: g.exp,
  Log: g.log,
  Sqrt: g.sqrt,
  Reciprocal: g.reciprocal,
  Erf: g.erf,
  Tanh: g.tanh,
  Sigmoid: g.sigmoid,
  Relu: g.relu,
  Softplus: g.softplus,
  Sin: g.sin,
  Cos: g.cos,
  Floor: g.floor,
  Silu: g.silu,
  StopGradient: g.stopGradient,
  Gelu: (x: Tensor) => g.gelu(x),
  Softmax: (x: Tensor) => g.softmax(x, 0),
  LogSoftmax: (x: Tensor) => g.logSoftmax(x),
}).map(([op, f]) => ({ op, build: input => f(input('float32', 'batch', 3)), gives: 'float32[batch, 3]' }))

const binary = (table: Record<string, (a: Tensor, b: Tensor) => Tensor>, dtype: DType, result: DType): OperatorCase[] =>
  Object.entries(table).flatMap(([op, f]): OperatorCase[] => [
    { op, build: t => f(t(dtype, 'batch', 1, 3), t(dtype, 2, 1)), gives: `${result}[batch, 2, 3]` },
    {
      op,
      build: t => f(t(dtype, 'batch', 3), t(dtype, 'batch', 4)),
      refuses: new RegExp(`${op}\\(${dtype}\\[batch, 3\\], ${dtype}\\[batch, 4\\]\\): .*cannot be broadcast`),
    },
    { op, build: t => f(t(dtype, 3), t('int32', 3)), refuses: /element types differ/ },
  ])

/** A matrix of two rows of 16 values in 8 bits. */
function quantized(graph: Graph, transposed: boolean): Tensor {
  const layout = { scheme: 'int8', rows: 2, columns: 16, blockSize: 16, symmetric: true, transposed } as const
  const part = (dtype: 'uint8' | 'float32', name: string, shape: number[], bytes: Uint8Array) => ({
    ...{ name, dtype, shape },
    source: { kind: 'memory', dtype: dtype === 'uint8' ? 'U8' : 'F32', shape, bytes },
  })
  return g.dequantize(graph, layout, [
    part(
      'uint8',
      'packed',
      [2, 1, 16],
      Uint8Array.from({ length: 32 }, (_, i) => 112 + i),
    ),
    part('float32', 'scales', [2, 1], new Uint8Array(Float32Array.of(0.5, 2).buffer)),
  ])
}

/** The cases. */
export const OPERATOR_CASES: readonly OperatorCase[] = [
  ...unary,
  ...binary(
    { Add: g.add, Sub: g.sub, Mul: g.mul, Div: g.div, Pow: g.pow, Max: g.maximum, Min: g.minimum },
    'float32',
    'float32',
  ),
  ...binary(
    {
      Equal: g.equal,
      Less: g.less,
      LessOrEqual: g.lessOrEqual,
      Greater: g.greater,
      GreaterOrEqual: g.greaterOrEqual,
    },
    'float32',
    'bool',
  ),
  ...binary({ And: g.logicalAnd, Or: g.logicalOr }, 'bool', 'bool'),
  { op: 'Not', build: t => g.logicalNot(t('bool', 'batch')), gives: 'bool[batch]' },
  { op: 'Input', build: t => t('int64', 'batch', '2*half'), gives: 'int64[batch, 2*half]' },
  { op: 'Input', build: t => t('int64', 'batch', -1), refuses: /\[batch, -1\] is not a shape/ },
  { op: 'Input', build: t => t('int64', 1.5), refuses: /\[1.5\] is not a shape/ },
  { op: 'Constant', build: (_, graph) => graph.constant([1, 2, 3, 4], 'int64', [2, 2]), gives: 'int64[2, 2]' },
  { op: 'Constant', build: (_, graph) => graph.constant(3, 'float32'), gives: 'float32[]' },
  {
    op: 'Weight',
    build: (_, graph) => graph.weight({ name: 'w', dtype: 'float32', shape: [2, 3] }),
    gives: 'float32[2, 3]',
  },
  { op: 'Dequantize', build: (_, graph) => quantized(graph, false), gives: 'float32[2, 16]' },
  { op: 'Dequantize', build: (_, graph) => quantized(graph, true), gives: 'float32[16, 2]' },
  { op: 'Cast', build: t => g.cast(t('bool', 'batch'), 'float32'), gives: 'float32[batch]' },
  {
    op: 'Where',
    build: t => g.where(t('bool', 'batch', 1), t('float32', 3), 0),
    gives: 'float32[batch, 3]',
  },
  {
    op: 'Where',
    build: t => g.where(t('float32', 3), t('float32', 3), 0),
    refuses: /condition must be bool, not float32/,
  },
  {
    op: 'Where',
    build: t => g.where(t('bool', 3), t('float32', 3), t('int64', 3)),
    refuses: /different element types/,
  },
  { op: 'Where', build: t => g.where(t('bool', 2), t('float32', 3), 0), refuses: /\[2\] and \[3\] and \[\]/ },
  {
    op: 'Gather',
    build: t => g.gather(t('float32', 5, 'width'), t('int64', 'batch', 2), 0),
    gives: 'float32[batch, 2, width]',
  },
  { op: 'Gather', build: t => g.select(t('float32', 'batch', 5, 2), 1, -1), gives: 'float32[batch, 2]' },
  {
    op: 'Gather',
    build: t => g.gather(t('float32', 5), t('float32', 2)),
    refuses: /float32\[2\]\): indices must be int64/,
  },
  {
    op: 'Gather',
    build: t => g.gather(t('float32', 5), t('int64', 2), 1),
    refuses: /axis 1 is out of range for 1 axes/,
  },
  {
    op: 'GatherElements',
    build: t => g.gatherElements(t('float32', 'batch', 5), t('int64', 'batch', 2), 1),
    gives: 'float32[batch, 2]',
  },
  {
    op: 'GatherElements',
    build: t => g.gatherElements(t('float32', 'batch', 5), t('int64', 2), 1),
    refuses: /float32\[batch, 5\], int64\[2\].*same number of axes/,
  },
  {
    op: 'ScatterElements',
    build: t => g.scatterAddElements(t('float32', 'batch', 5), t('int64', 'batch', 2), t('float32', 'batch', 2), 1),
    gives: 'float32[batch, 5]',
  },
  {
    op: 'ScatterElements',
    build: t => g.scatterAddElements(t('float32', 4, 5), t('int64', 4, 2), t('float32', 4, 3), 1),
    refuses: /int64\[4, 2\], float32\[4, 3\]\): there must be one update for each index/,
  },
  {
    op: 'ScatterElements',
    build: t => g.scatterAddElements(t('float32', 4), t('int64', 4), t('float64', 4), 0),
    refuses: /another element type/,
  },
  {
    op: 'ScatterRows',
    build: t => g.scatterAddRows(t('int64', 'batch', 2), t('float32', 'batch', 2, 3), 'rows'),
    gives: 'float32[rows, 3]',
  },
  {
    op: 'ScatterRows',
    build: t => g.scatterAddRows(t('int64', 'batch', 2), t('float32', 'batch', 3), 4),
    refuses: /int64\[batch, 2\], float32\[batch, 3\]\): there must be one update for each index/,
  },
  {
    op: 'ScatterND',
    build: (t, graph) =>
      graph.add('ScatterND', [t('float32', 4, 2), t('int64', 3, 1), t('float32', 3, 2)], { reduction: 'add' })[0],
    gives: 'float32[4, 2]',
  },
  { op: 'Range', build: (_, graph) => g.range(graph, 'past+now'), gives: 'int64[now+past]' },
  { op: 'DimValue', build: (_, graph) => g.dimValue(graph, '2*batch'), gives: 'int64[]' },
  { op: 'ArgMax', build: t => g.argMax(t('float32', 'batch', 3, 2), -2), gives: 'int64[batch, 2]' },
  {
    op: 'CrossEntropy',
    build: t => g.crossEntropy(t('float32', 'batch', 3, 5), t('int64', 'batch', 3), { reduction: 'none' }),
    gives: 'float32[batch, 3]',
  },
  {
    op: 'CrossEntropy',
    build: t => g.crossEntropy(t('float32', 'batch', 5), t('float32', 'batch')),
    refuses: /float32\[batch, 5\], float32\[batch\]\): expected logits \[rows, classes\] and int64 labels \[rows\]/,
  },
  {
    op: 'CrossEntropy',
    build: t => g.crossEntropy(t('float32', 4, 5), t('int64', 3)),
    refuses: /float32\[4, 5\], int64\[3\]\)/,
  },
  {
    op: 'CrossEntropyGrad',
    build: (t, graph) =>
      graph.add('CrossEntropyGrad', [t('float32', 'batch', 5), t('int64', 'batch'), t('float32', 'batch')], {
        ignoreIndex: -100,
      })[0],
    gives: 'float32[batch, 5]',
  },
  {
    op: 'MatMul',
    build: t => g.matmul(t('float32', 'batch', 1, 3, 'm'), t('float32', 2, 4, 3), { transA: true, transB: true }),
    gives: 'float32[batch, 2, m, 4]',
  },
  {
    op: 'MatMul',
    build: t => g.matmul(t('float32', 'batch', 3), t('float32', 4, 5)),
    refuses: /MatMul\(float32\[batch, 3\], float32\[4, 5\]\): inner dimensions differ: 3 and 4/,
  },
  { op: 'MatMul', build: t => g.matmul(t('float32', 3), t('float32', 3, 5)), refuses: /at least two axes/ },
  { op: 'MatMul', build: t => g.matmul(t('float32', 2, 3), t('float64', 3, 5)), refuses: /element types differ/ },
  {
    op: 'Linear',
    build: t => g.linear(t('float32', 'batch', 'n', 3), t('float32', 5, 3), t('float32', 5)),
    gives: 'float32[batch, n, 5]',
  },
  {
    op: 'Linear',
    build: t => g.linear(t('float32', 'batch', 3), t('float32', 3, 5), undefined, true),
    gives: 'float32[batch, 5]',
  },
  {
    op: 'Linear',
    build: t => g.linear(t('float32', 'batch', 3), t('float32', 3, 5)),
    refuses: /float32\[batch, 3\], float32\[3, 5\]\): the last axis of x is 3, the weight expects 5/,
  },
  {
    op: 'Linear',
    build: t => g.linear(t('float32', 'batch', 3), t('float32', 5, 3), t('float32', 3)),
    refuses: /the bias must have shape \[5\]/,
  },
  {
    op: 'Linear',
    build: t => g.linear(t('float32', 3), t('float32', 3)),
    refuses: /the weight must have two axes, not 1/,
  },
  {
    op: 'Conv',
    build: t => g.convolution(t('float32', 'batch', 3, 'n'), t('float32', 4, 3, 2), t('float32', 4), { padding: 1 }),
    gives: 'float32[batch, 4, n+1]',
  },
  {
    op: 'Conv',
    build: t =>
      g.convolution(t('float32', 'batch', 4, 9, '6*n'), t('float32', 6, 2, 3, 2), undefined, {
        ...{ stride: [2, 3], padding: [1, [0, 1]], dilation: [2, 1], groups: 2 },
      }),
    gives: 'float32[batch, 6, 4, 2*n]',
  },
  {
    op: 'Conv',
    build: t => g.convolution(t('float32', 1, 2, 5, 6, 7), t('float32', 2, 1, 3, 3, 3), undefined, { groups: 2 }),
    gives: 'float32[1, 2, 3, 4, 5]',
  },
  {
    op: 'Conv',
    build: t => g.convolution(t('float32', 'batch', 3, 5), t('float32', 4, 2, 2)),
    refuses: /Conv\(float32\[batch, 3, 5\], float32\[4, 2, 2\]\): the input has 3 channels, the weight expects 2/,
  },
  {
    op: 'Conv',
    build: t => g.convolution(t('float32', 1, 3, 5), t('float32', 4, 3)),
    refuses: /a weight with as many axes/,
  },
  {
    op: 'Conv',
    build: t => g.convolution(t('float32', 1, 3, 5), t('float32', 4, 3, 4), undefined, { dilation: 2 }),
    refuses: /a window spans 7 elements of spatial axis 0, which has 5 with its padding/,
  },
  {
    op: 'Conv',
    build: t => g.convolution(t('float32', 1, 3, 'n'), t('float32', 4, 3, 1), undefined, { stride: 2 }),
    refuses: /stride 2 along an axis of n is not known; declare a length that the stride divides, such as "2\*length"/,
  },
  {
    op: 'Conv',
    build: t => g.convolution(t('float32', 1, 4, 5), t('float32', 3, 2, 1), undefined, { groups: 2 }),
    refuses: /3 channels of the weight's first axis cannot be divided into 2 groups/,
  },
  {
    op: 'Conv',
    build: t => g.convolution(t('float32', 1, 3, 5), t('float32', 4, 3, 1), t('float32', 3)),
    refuses: /the bias must have shape \[4\]/,
  },
  {
    op: 'Conv',
    build: t => g.convolution(t('float32', 1, 3, 5), t('float32', 4, 3, 1), undefined, { stride: [1, 2] }),
    refuses: /stride must be 1 integers from 1 upwards, or one for all, got 1,2/,
  },
  {
    op: 'ConvTranspose',
    build: t =>
      g.transposedConvolution(t('float32', 'batch', 4, 'n', 3), t('float32', 4, 3, 2, 3), t('float32', 6), {
        ...{ stride: [2, 3], padding: [0, [1, 0]], dilation: [3, 1], groups: 2, outputPadding: [1, 2] },
      }),
    gives: 'float32[batch, 6, 2*n+3, 10]',
  },
  {
    op: 'ConvTranspose',
    build: t => g.transposedConvolution(t('float32', 1, 3, 5), t('float32', 3, 1, 2), undefined, { outputPadding: 1 }),
    refuses: /output padding 1 is not below the stride 1/,
  },
  {
    op: 'MaxPool',
    build: t => g.maxPool(t('float32', 'batch', 3, 7, '2*n'), 2, { padding: [1, 0] }),
    gives: 'float32[batch, 3, 4, n]',
  },
  { op: 'MaxPool', build: t => g.maxPool(t('float32', 3, 7), 2), refuses: /expected \[batch, channels, length...\]/ },
  {
    op: 'MaxPool',
    build: t => g.maxPool(t('float32', 1, 3, 7), 3, { padding: 2 }),
    refuses: /padding 2 is more than half of the window 3/,
  },
  {
    op: 'Conv',
    build: t => g.averagePool(t('float32', 'batch', 3, 'n', 6), [2, 3], { stride: [1, 3] }),
    gives: 'float32[batch, 3, n+-1, 2]',
  },
  { op: 'Concat', build: t => g.padAxis(t('float32', 'n', 3), 0, 2, 1, 'circular'), gives: 'float32[n+3, 3]' },
  { op: 'Gather', build: t => g.padAxis(t('float32', 2, 'n'), -1, 2, 1, 'reflect'), gives: 'float32[2, n+3]' },
  { op: 'Expand', build: t => g.padAxis(t('float32', 'n'), 0, 0, 3, 'replicate'), gives: 'float32[n+3]' },
  {
    op: 'Gather',
    build: t => g.padAxis(t('float32', 2, 3), 1, 0, 3, 'reflect'),
    refuses: /mode "reflect" needs at least 4 elements, axis 1 of \[2, 3\] has 3/,
  },
  {
    op: 'LayerNorm',
    build: t => g.layerNorm(t('float32', 'batch', 4), t('float32', 4), t('float32', 4), 1e-5),
    gives: 'float32[batch, 4]',
  },
  {
    op: 'LayerNorm',
    build: t => g.layerNorm(t('float32', 'batch', 4), t('float32', 3), undefined, 1e-5),
    refuses: /the weight must have shape \[4\], not float32\[3\]/,
  },
  { op: 'RmsNorm', build: t => g.rmsNorm(t('float32', 'batch', 4), t('float32', 4), 1e-6), gives: 'float32[batch, 4]' },
  {
    op: 'RmsNorm',
    build: t => g.rmsNorm(t('float32', 'batch', 4), t('float32', 4, 1), 1e-6),
    refuses: /the weight must have shape \[4\], not float32\[4, 1\]/,
  },
  {
    op: 'DropoutMask',
    build: (_, graph) => graph.add('DropoutMask', [], { shape: ['batch'], keep: 0.5, site: 0 })[0],
    gives: 'float32[batch]',
  },
  { op: 'ReduceSum', build: t => g.sum(t('float32', 'batch', 3, 2), [0, -1], true), gives: 'float32[1, 3, 1]' },
  { op: 'ReduceSum', build: t => g.sum(t('float32', 'batch', 3)), gives: 'float32[]' },
  { op: 'ReduceSum', build: t => g.sum(t('float32', 'batch', 3), [2]), refuses: /axis 2 is out of range for 2 axes/ },
  { op: 'ReduceSum', build: t => g.sum(t('float32', 'batch', 3), [1, -1]), refuses: /named twice in \[1,1\]/ },
  { op: 'ReduceMax', build: t => g.max(t('float32', 'batch', 3), [0]), gives: 'float32[3]' },
  { op: 'CumSum', build: t => g.cumulativeSum(t('int64', 'batch', 'n'), -1), gives: 'int64[batch, n]' },
  { op: 'CumSum', build: t => g.cumulativeSum(t('float32', 'batch', 3), 0, true), gives: 'float32[batch, 3]' },
  { op: 'CumSum', build: t => g.cumulativeSum(t('float32', 2), 1), refuses: /axis 1 is out of range for 1 axes/ },
  { op: 'TopK', build: t => g.topK(t('float32', 'batch', 4), 2).values, gives: 'float32[batch, 2]' },
  { op: 'TopK', build: t => g.topK(t('float32', 'batch', 4), 2).indices, gives: 'int64[batch, 2]' },
  {
    op: 'TopK',
    build: t => g.topK(t('float32', 2, 4), 5).values,
    refuses: /5 elements cannot be chosen from an axis of 4/,
  },
  { op: 'TopK', build: t => g.topK(t('float32', 2, 4), 0).values, refuses: /0 elements cannot be chosen/ },
  { op: 'TopK', build: t => g.topK(t('float32'), 1).values, refuses: /a scalar has no axis/ },
  { op: 'Reshape', build: t => g.reshape(t('float32', 'batch', 'n', 4), [-1, 2]), gives: 'float32[2*batch*n, 2]' },
  { op: 'Reshape', build: t => g.reshape(t('float32', 0, 3), [-1, 6]), gives: 'float32[0, 6]' },
  { op: 'Reshape', build: t => g.reshape(t('float32', 'n', 0, 3), [3, 'n', 0]), gives: 'float32[3, n, 0]' },
  {
    op: 'Reshape',
    build: t => g.reshape(t('float32', 'batch', 3), [-1, 2]),
    refuses: /\[batch, 3\] cannot be divided into \[-1, 2\]/,
  },
  { op: 'Reshape', build: t => g.reshape(t('float32', 0, 3), [0, -1]), refuses: /cannot be divided/ },
  {
    op: 'Reshape',
    build: t => g.reshape(t('float32', 'batch', 3), ['batch', 4]),
    refuses: /Reshape\(float32\[batch, 3\]\): 3\*batch elements do not fit into \[batch, 4\]/,
  },
  {
    op: 'Reshape',
    build: t => g.reshape(t('float32', 4, 6), [-1, -1]),
    refuses: /only one dimension of \[-1, -1\] may be -1/,
  },
  { op: 'Reshape', build: t => g.reshape(t('float32', 4), [-2, -2]), refuses: /\[-2, -2\] is not a shape/ },
  { op: 'Reshape', build: t => g.squeeze(t('float32', 2, 3), [1]), refuses: /axis 1 of \[2, 3\] is not of length 1/ },
  { op: 'Reshape', build: t => g.unsqueeze(t('float32', 'batch'), [0, -1]), gives: 'float32[1, batch, 1]' },
  { op: 'Expand', build: t => g.expand(t('float32', 1, 3), [2, 'batch', 3]), gives: 'float32[2, batch, 3]' },
  {
    op: 'Expand',
    build: t => g.expand(t('float32', 2, 3), [2, 1]),
    refuses: /Expand\(float32\[2, 3\]\): cannot be expanded to \[2, 1\]/,
  },
  {
    op: 'Rotary',
    build: t => g.rotary(t('float32', 2, 3, 'n', 4), t('float32', 1, 1, 'n', 2), t('float32', 1, 1, 'n', 2)),
    gives: 'float32[2, 3, n, 4]',
  },
  {
    op: 'Rotary',
    build: t =>
      g.rotary(t('float32', 'batch', 3, 'n', 4), t('float32', 'batch', 1, 'n', 2), t('float32', 'batch', 1, 'n', 2)),
    gives: 'float32[batch, 3, n, 4]',
  },
  {
    op: 'Rotary',
    build: t => g.rotary(t('float32', 2, 3, 5, 4), t('float32', 1, 1, 5, 4), t('float32', 1, 1, 5, 4)),
    refuses: /expected x \[batch, heads, sequence, width\]/,
  },
  { op: 'Transpose', build: t => g.transpose(t('float32', 'batch', 2, 3)), gives: 'float32[batch, 3, 2]' },
  { op: 'Transpose', build: t => g.transpose(t('float32', 'batch', 2, 3), [2, 0, 1]), gives: 'float32[3, batch, 2]' },
  {
    op: 'Transpose',
    build: t => g.transpose(t('float32', 2, 3), [0, 0]),
    refuses: /float32\[2, 3\]\): \[0,0\] is not an order of 2 axes/,
  },
  { op: 'Slice', build: t => g.slice(t('float32', 'batch', 'n'), 1, 2), gives: 'float32[batch, n+-2]' },
  { op: 'Slice', build: t => g.slice(t('float32', 'now+past'), 0, 'past'), gives: 'float32[now]' },
  {
    op: 'Slice',
    build: t => g.slice(t('float32', 'n', 4), 0, -2),
    refuses: /float32\[n, 4\]\): the range -2 to n is not valid/,
  },
  { op: 'Slice', build: t => g.slice(t('float32', 4), 0, 3, 2), refuses: /the range 3 to 2 is not valid/ },
  { op: 'Slice', build: t => g.slice(t('float32', 4), 0, 0, 5), refuses: /the range ends at 5, axis 0 at 4/ },
  { op: 'Slice', build: t => g.split(t('float32', 4), [2, 3], 0)[0], refuses: /sizes \[2,3\] do not add up to 4/ },
  {
    op: 'Split',
    build: t => t('float32', 5).graph.add('Split', [t('float32', 5)], { sizes: [2, 3] })[1],
    gives: 'float32[3]',
  },
  {
    op: 'Concat',
    build: t => g.concat([t('float32', 2, 'past'), t('float32', 2, 3)], -1),
    gives: 'float32[2, past+3]',
  },
  {
    op: 'Concat',
    build: t => g.concat([t('float32', 2, 3), t('float32', 4, 3)], 1),
    refuses: /Concat\(float32\[2, 3\], float32\[4, 3\]\): the parts do not fit together along axis 1/,
  },
  { op: 'Concat', build: () => g.concat([], 1), refuses: /nothing to join/ },
  { op: 'RowPart', build: t => g.rowPart(t('float32', 5, 2), 1, { parts: 2, least: 1 }), gives: 'float32[2, 2]' },
  { op: 'RowPart', build: t => g.rowPart(t('float32', 5, 2), 1, { parts: 2, least: 4 }), gives: 'float32[1, 2]' },
  { op: 'RowPart', build: t => g.rowPart(t('float32', 5, 2), 1, { parts: 2, least: 9 }), gives: 'float32[0, 2]' },
  { op: 'RowPart', build: t => g.rowPart(t('float32'), 0, { parts: 2, least: 1 }), refuses: /a scalar has no rows/ },
  {
    op: 'JoinRows',
    build: t => {
      const x = t('float32', 'rows', 2)
      return g.joinRows(
        [0, 1, 2].map(part => g.rowPart(x, part, { parts: 3, least: 1 })),
        'rows',
      )
    },
    gives: 'float32[rows, 2]',
  },
  {
    op: 'JoinRows',
    build: t => g.joinRows([t('float32', 2, 2), t('float32', 2, 3)], 4),
    refuses: /rows of different kinds/,
  },
  {
    op: 'CountedRows',
    build: t => g.reshape(g.sum(g.cast(g.countedRows(t('int64', 'batch'), -100), 'float32'), [0], true), [1]),
    gives: 'float32[1]',
  },
  { op: 'CountedRows', build: t => g.countedRows(t('float32', 2), -100), refuses: /expected int64 labels \[rows\]/ },
  {
    op: 'After',
    build: t => g.after(t('float32', 'batch', 3), [t('int64', 2), t('float32')]),
    gives: 'float32[batch, 3]',
  },
  {
    op: 'WithGradient',
    build: t => {
      const x = t('float32', 'batch')
      return g.withGradient(g.sum(x), [[x, x]])
    },
    gives: 'float32[]',
  },
  {
    op: 'WithGradient',
    build: t => g.withGradient(g.sum(t('float32', 2)), [[t('float32', 2), t('float32', 3)]]),
    refuses: /float32\[3\] does not belong to float32\[2\]/,
  },
  { op: 'Pad', build: t => g.pad(t('float32', 2, 'n'), 1, 1, 'm'), gives: 'float32[2, m+n+1]' },
  { op: 'Pad', build: t => g.pad(t('float32', 2), 0, -3, 0), refuses: /\[-1\] is not a shape/ },
]

/** A graph in which a case makes its inputs `a`, `b`, … */
export function buildCase(test: OperatorCase, graph: Graph): Tensor {
  const input: MakeInput = (dtype, ...shape) => graph.input(`input${graph.inputs.size}`, dtype, shape)
  return toTensor(
    graph,
    graph.trace(() => test.build(input, graph)),
  )
}
