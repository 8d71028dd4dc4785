/** @file How each primitive operator is written in ONNX. */
import type { OnnxAttribute, OnnxDType } from '../../onnx/index.ts'
import { ONNX_DTYPES } from '../../onnx/index.ts'
import { type Dim, formatShape, multiplyDims, type Shape } from '../dim.ts'
import type { DType } from '../dtype.ts'
import type { Node, Tensor } from '../graph.ts'
import type { RowParts } from '../operators/rows.ts'
import type { Emitter } from './emitter.ts'
import type { IntegerProducts } from './integer-products.ts'
import { dequantized, isQuantized, type KeptMatrices, lowerQuantized } from './quantized.ts'
import type { RuntimeShapes } from './shapes.ts'

/** What an operator needs to write itself. */
export interface Lowering {
  emitter: Emitter
  shapes: RuntimeShapes
  /** Whether the kernels of ONNX Runtime's CPU provider may be used (FusedMatMul and others). */
  cpu: boolean
  /** Whether quantised matrices are dequantised for products of exact activations. */
  dequantize: boolean
  /** Which products with quantised weights are computed in 8-bit arithmetic. */
  products: IntegerProducts
  /** Whether no byte of a weight may be mapped twice. */
  mapOnce: boolean
  /** Whether any other node or output reads a tensor. */
  isUsed(tensor: Tensor): boolean
  /** The dequantised values of matrices that are read often, which are computed once. */
  readonly kept: KeptMatrices
  /**
   * The name under which bytes of a weight, from `offset` on, stand in the model as a tensor of another type and shape;
   * `weight` is the output of a Weight node.
   */
  weightView(weight: Tensor, dtype: OnnxDType, dims: readonly number[], offset?: number): string
}

type Lower = (node: Node, names: readonly string[], lowering: Lowering) => readonly string[]

const MICROSOFT = 'com.microsoft'
const int = (value: unknown): OnnxAttribute => ({ int: Number(value) })
const ints = (value: unknown): OnnxAttribute => ({ ints: value as number[] })

/** An operator that ONNX has under the same name, with these attributes. */
const direct =
  (op: string, attributes: (node: Node) => Record<string, OnnxAttribute> = () => ({}), domain = ''): Lower =>
  (node, names, { emitter }) => [emitter.node(op, names, attributes(node), domain)]

const axis = (node: Node) => ({ axis: int(node.attributes.axis) })
const windows = ({ attributes }: Node) => ({
  strides: ints(attributes.strides),
  pads: ints(attributes.pads),
  dilations: ints(attributes.dilations),
})

/** `a · b` of matrices whose leading axes are broadcast, with optional transposes and a factor. */
function product(a: string, b: string, node: Node, { emitter, cpu }: Lowering): string {
  const { transA, transB, alpha } = node.attributes as { transA: boolean; transB: boolean; alpha: number }
  if (!transA && !transB && alpha === 1) return emitter.node('MatMul', [a, b])
  // ONNX Runtime 1.30 leaves the result of a batched FusedMatMul unwritten where the inner axis has length 0.
  const inner = node.inputs[0].shape.at(transA ? -2 : -1)
  if (cpu && inner !== 0) {
    const attributes = { transA: int(transA), transB: int(transB), alpha: { float: alpha } }
    return emitter.node('FusedMatMul', [a, b], attributes, MICROSOFT)
  }
  const turned = (name: string, rank: number, transposed: boolean) => {
    if (!transposed) return name
    const perm = Array.from({ length: rank }, (_, i) => (i < rank - 2 ? i : 2 * rank - 3 - i))
    return emitter.node('Transpose', [name], { perm: ints(perm) })
  }
  const result = emitter.node('MatMul', [
    turned(a, node.inputs[0].rank, transA),
    turned(b, node.inputs[1].rank, transB),
  ])
  return alpha === 1 ? result : emitter.node('Mul', [result, emitter.constant([alpha], 'float32', [])])
}

const matmul: Lower = (node, [a, b], lowering) => [product(a, b, node, lowering)]

/** Gemm takes matrices: rows are folded before it and unfolded after; both reshapes only rename memory. */
const linear: Lower = (node, [x, weight, bias], { emitter, shapes }) => {
  const [input] = node.inputs
  const [output] = node.outputs
  const attributes = { transB: int(!node.attributes.transposed) }
  const operands = (rows: string) => (bias ? [rows, weight, bias] : [rows, weight])
  if (input.rank === 2) return [emitter.node('Gemm', operands(x), attributes)]
  const rows: Dim = multiplyDims(...input.shape.slice(0, -1))
  const flat = shapes.reshape(x, input.shape, [rows, input.shape.at(-1)!])
  const result = emitter.node('Gemm', operands(flat), attributes)
  emitter.types.set(flat, { dtype: input.dtype, shape: [rows, input.shape.at(-1)!] })
  emitter.types.set(result, { dtype: output.dtype, shape: [rows, output.shape.at(-1)!] })
  return [shapes.reshape(result, [rows, output.shape.at(-1)!], output.shape)]
}

const reduceWithAxesInput =
  (op: string): Lower =>
  ({ attributes }, [x], { emitter }) => [
    emitter.node(op, [x, emitter.int64(attributes.axes as number[])], { keepdims: int(attributes.keepDims) }),
  ]

const same = [
  ...[
    'Neg',
    'Abs',
    'Sign',
    'Exp',
    'Log',
    'Sqrt',
    'Reciprocal',
    'Erf',
    'Tanh',
    'Sigmoid',
    'Relu',
    'Softplus',
    'Sin',
    'Cos',
  ],
  ...['Floor', 'Not', 'Add', 'Sub', 'Mul', 'Div', 'Pow', 'Max', 'Min', 'Equal', 'Less', 'LessOrEqual', 'Greater'],
  ...['GreaterOrEqual', 'And', 'Or', 'Where'],
]

/** The table of all primitive operators. */
export const LOWERINGS: Readonly<Record<string, Lower>> = {
  ...Object.fromEntries(same.map(op => [op, direct(op)])),
  Gelu: (node, [x], { emitter, cpu }) => {
    const approximate = node.attributes.approximate as string
    // The contributed kernel is the faster one for the exact form; ONNX's own serves everywhere.
    if (cpu && approximate === 'none') return [emitter.node('Gelu', [x], {}, MICROSOFT)]
    return [emitter.node('Gelu', [x], { approximate: { string: approximate } })]
  },
  Silu: (_, [x], { emitter, cpu }) => [
    cpu
      ? emitter.node('QuickGelu', [x], { alpha: { float: 1 } }, MICROSOFT)
      : emitter.node('Mul', [x, emitter.node('Sigmoid', [x])]),
  ],
  Cast: direct('Cast', node => ({ to: int(ONNX_DTYPES[node.attributes.to as DType]) })),
  Rotary: (node, [x, cosine, sine], { emitter, shapes, cpu }) => {
    const [input, table] = node.inputs
    const half = table.shape[3] as number
    const [, , sequence] = input.shape
    if (!cpu) {
      const part = (start: number, end: number) =>
        emitter.node('Slice', [x, emitter.int64([start]), emitter.int64([end]), emitter.int64([3])])
      const [left, right] = [part(0, half), part(half, 2 * half)]
      const times = (a: string, b: string) => emitter.node('Mul', [a, b])
      const first = emitter.node('Sub', [times(left, cosine), times(right, sine)])
      const second = emitter.node('Add', [times(right, cosine), times(left, sine)])
      return [emitter.node('Concat', [first, second], { axis: int(3) })]
    }
    // The kernel looks rows up in a table by position: one row a position, or one a position of each batch entry.
    const rows = multiplyDims(table.shape[0], sequence)
    // The same tables serve all layers.
    const flat = (name: string) =>
      shapes.computed(`rows of ${name}`, () => shapes.reshape(name, table.shape, [rows, half]))
    const counted = () => {
      const scalar = (value: number) => emitter.constant([value], 'int64', [])
      const count = emitter.node('Squeeze', [shapes.dim(rows)])
      const range = emitter.node('Range', [scalar(0), count, scalar(1)])
      return emitter.node('Reshape', [range, shapes.shape([table.shape[0], sequence])])
    }
    const positions =
      table.shape[0] === 1
        ? emitter.int64([0])
        : shapes.computed(`positions ${formatShape([table.shape[0], sequence])}`, counted)
    return [emitter.node('RotaryEmbedding', [x, positions, flat(cosine), flat(sine)], {}, MICROSOFT)]
  },
  Conv: direct('Conv', node => ({ ...windows(node), group: int(node.attributes.groups) })),
  ConvTranspose: direct('ConvTranspose', node => ({
    ...windows(node),
    group: int(node.attributes.groups),
    output_padding: ints(node.attributes.outputPadding),
  })),
  MaxPool: (node, names, { emitter, isUsed }) =>
    emitter.nodeWithOutputs(
      'MaxPool',
      names,
      2,
      { ...windows(node), kernel_shape: ints(node.attributes.kernel) },
      '',
      i => i === 0 || isUsed(node.outputs[i]),
    ),
  MatMul: matmul,
  Linear: linear,
  Softmax: direct('Softmax', axis),
  LogSoftmax: direct('LogSoftmax', axis),
  LayerNorm: (node, names, { emitter, isUsed }) =>
    emitter.nodeWithOutputs(
      'LayerNormalization',
      names,
      3,
      { axis: int(-1), epsilon: { float: node.attributes.epsilon as number } },
      '',
      i => i === 0 || isUsed(node.outputs[i]),
    ),
  RmsNorm: (node, names, { emitter, isUsed }) =>
    emitter.nodeWithOutputs(
      'SimplifiedLayerNormalization',
      names,
      2,
      { axis: int(-1), epsilon: { float: node.attributes.epsilon as number } },
      '',
      i => i === 0 || isUsed(node.outputs[i]),
    ),
  Reshape: (node, [x], { shapes }) => [shapes.reshape(x, node.inputs[0].shape, node.outputs[0].shape)],
  Expand: (node, [x], { emitter, shapes }) => [emitter.node('Expand', [x, shapes.shape(node.outputs[0].shape)])],
  Transpose: direct('Transpose', node => ({ perm: ints(node.attributes.perm) })),
  Slice: ({ attributes, inputs }, [x], { emitter, shapes }) => {
    const toEnd = attributes.end === inputs[0].shape[attributes.axis as number]
    const end = toEnd ? emitter.int64([Number.MAX_SAFE_INTEGER]) : shapes.dim(attributes.end as Dim)
    return [
      emitter.node('Slice', [x, shapes.dim(attributes.start as Dim), end, emitter.int64([attributes.axis as number])]),
    ]
  },
  Split: ({ attributes, outputs }, [x], { emitter }) =>
    emitter.nodeWithOutputs('Split', [x, emitter.int64(attributes.sizes as number[])], outputs.length, {
      axis: int(0),
    }),
  Concat: direct('Concat', axis),
  RowPart: ({ attributes, inputs, outputs }, [x], { emitter, shapes }) => {
    const { part, parts, least } = attributes as unknown as RowParts & { part: number }
    const [rows] = inputs[0].shape
    const each = shapes.computed(`${least} or 1/${parts} of ${rows}`, () => {
      const share = emitter.node('Div', [
        emitter.node('Add', [shapes.dim(rows), emitter.int64([parts - 1])]),
        emitter.int64([parts]),
      ])
      return emitter.node('Max', [share, emitter.int64([least])])
    })
    const at = (index: number) => emitter.node('Mul', [each, emitter.int64([index])])
    const result = emitter.node('Slice', [x, at(part), at(part + 1), emitter.int64([0])])
    shapes.define(outputs[0].shape[0], result, 0)
    return [result]
  },
  JoinRows: (_, names, { emitter }) => [emitter.node('Concat', names, { axis: int(0) })],
  CountedRows: ({ attributes, outputs }, [labels], { emitter, shapes }) => {
    const ignored = emitter.node('Equal', [labels, emitter.constant([attributes.ignoreIndex as number], 'int64', [])])
    const result = emitter.node('Reshape', [
      emitter.node('NonZero', [emitter.node('Not', [ignored])]),
      emitter.int64([-1]),
    ])
    shapes.define(outputs[0].shape[0], result, 0)
    return [result]
  },
  // Of the others no element is read: an empty part of their shape makes the engine wait for them.
  After: (_, [x, ...others], { emitter }) => {
    const none = { start: int(0), end: int(0) }
    const shape = [emitter.node('Shape', [x]), ...others.map(other => emitter.node('Shape', [other], none))]
    return [emitter.node('Reshape', [x, emitter.node('Concat', shape, { axis: int(0) })], { allowzero: int(1) })]
  },
  Pad: ({ attributes }, [x], { emitter, shapes }) => [emitter.node('Pad', [x, shapes.shape(attributes.pads as Shape)])],
  Gather: direct('Gather', axis),
  GatherElements: direct('GatherElements', axis),
  ScatterElements: direct('ScatterElements', node => ({
    ...axis(node),
    reduction: { string: node.attributes.reduction as string },
  })),
  ScatterND: direct('ScatterND', node => ({ reduction: { string: node.attributes.reduction as string } })),
  Range: ({ attributes }, _, { emitter, shapes }) => {
    const scalar = (value: number) => emitter.constant([value], 'int64', [])
    const length = attributes.length as Dim
    const end = typeof length === 'number' ? scalar(length) : emitter.node('Squeeze', [shapes.dim(length)])
    return [emitter.node('Range', [scalar(0), end, scalar(1)])]
  },
  DimValue: ({ attributes }, _, { emitter, shapes }) => [emitter.node('Squeeze', [shapes.dim(attributes.dim as Dim)])],
  ArgMax: direct('ArgMax', node => ({ ...axis(node), keepdims: int(0) })),
  CumSum: ({ attributes }, [x], { emitter }) => [
    emitter.node('CumSum', [x, emitter.constant([attributes.axis as number], 'int64', [])], {
      reverse: int(attributes.reverse),
    }),
  ],
  TopK: ({ attributes }, [x], { emitter }) =>
    emitter.nodeWithOutputs('TopK', [x, emitter.int64([attributes.count as number])], 2),
  ReduceSum: reduceWithAxesInput('ReduceSum'),
  ReduceMax: reduceWithAxesInput('ReduceMax'),
}

/** Writes one node. Throws for an operator that no table entry covers. */
export function lowerNode(node: Node, lowering: Lowering): void {
  const lower = LOWERINGS[node.op]
  if (!lower)
    throw new Error(`The operator ${node.op} on ${node.inputs.map(x => formatShape(x.shape))} has no ONNX form`)
  const nameOf = (tensor: Tensor) =>
    isQuantized(tensor) ? dequantized(tensor, lowering) : lowering.emitter.nameOf(tensor)
  const names = lowerQuantized(node, nameOf, lowering) ?? lower(node, node.inputs.map(nameOf), lowering)
  for (const [i, output] of node.outputs.entries()) if (names[i]) lowering.emitter.setName(output, names[i])
}
