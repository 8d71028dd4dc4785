/** @file How quantised matrices are written in ONNX: by whoever reads them. */
import { ONNX_DTYPES, type OnnxAttribute } from '../../onnx/index.ts'
import { type Dim, multiplyDims, type Shape } from '../dim.ts'
import type { DType } from '../dtype.ts'
import type { Node, Tensor } from '../graph.ts'
import type { QuantizedMatrix } from '../operators/quantized.ts'
import { lowerInteger } from './integer-products.ts'
import type { LoweringOptions } from './model.ts'
import type { Lowering } from './operators.ts'

const MICROSOFT = 'com.microsoft'
const int = (value: number): OnnxAttribute => ({ int: value })

/** Whether a tensor is a quantised matrix. */
export function isQuantized(tensor: Tensor): boolean {
  return tensor.node.op === 'Dequantize'
}

const layoutOf = ({ node }: Tensor) => node.attributes.layout as QuantizedMatrix
const isTable = ({ scheme }: QuantizedMatrix) => scheme === 'nf4' || scheme === 'fp4'
const halfOf = ({ scheme }: QuantizedMatrix) => (scheme === 'bfloat16' || scheme === 'float16' ? scheme : undefined)

/**
 * Writes a node that reads a quantised matrix in its packed form; undefined where it has to be dequantised.
 *
 * @param nameOf the name of another operand
 */
export function lowerQuantized(
  node: Node,
  nameOf: (tensor: Tensor) => string,
  lowering: Lowering,
): readonly string[] | undefined {
  const [first, second] = node.inputs
  const integer = second && isQuantized(second) ? lowerInteger(node, nameOf, lowering) : undefined
  if (integer !== undefined) return [integer]
  if (node.op === 'Linear' && isQuantized(second)) return [quantizedLinear(node, nameOf, lowering)]
  if (node.op === 'MatMul' && isQuantized(second) && !isQuantized(first))
    return quantizedProduct(node, nameOf, lowering)
  if (node.op === 'Gather' && isQuantized(first) && node.attributes.axis === 0) {
    const rows = dequantizedRows(first, nameOf(node.inputs[1]), node.inputs[1], lowering)
    return rows === undefined ? undefined : [rows]
  }
  return undefined
}

/** The values of a quantised matrix, computed anew for whoever asks: a copy lives no longer than its reader. */
export function dequantized(tensor: Tensor, lowering: Lowering): string {
  const values = storedValues(tensor, lowering)
  if (!layoutOf(tensor).transposed) return values
  return lowering.emitter.node('Transpose', [values], { perm: { ints: [1, 0] } })
}

/** More readers than these, forward and backward in one layer, have the values computed once for all of them. */
const FEW_READERS = 2

/**
 * Matrices whose values are dequantised once and stay until their last reader has run: those that many read, as the
 * output layer is by a loss that comes in parts. Where memory counts (`mapOnce`) there are none.
 */
export class KeptMatrices {
  readonly #names = new Map<Tensor, string>()
  readonly #readers = new Map<Tensor, number>()

  constructor(nodes: readonly Node[], { dequantize, mapOnce }: Pick<LoweringOptions, 'dequantize' | 'mapOnce'>) {
    if (!dequantize || mapOnce) return
    for (const input of nodes.flatMap(({ op, inputs }) => (op === 'Gather' ? [] : inputs)))
      if (isQuantized(input)) this.#readers.set(input, (this.#readers.get(input) ?? 0) + 1)
  }

  has(tensor: Tensor): boolean {
    return (this.#readers.get(tensor) ?? 0) > FEW_READERS
  }

  /** The name of a matrix's values, which `compute` writes for the first that asks. */
  values(tensor: Tensor, compute: () => string): string {
    if (!this.has(tensor)) return compute()
    const name = this.#names.get(tensor) ?? compute()
    this.#names.set(tensor, name)
    return name
  }
}

/** All values as they are packed, `[rows, columns]`. */
function storedValues(tensor: Tensor, lowering: Lowering): string {
  return lowering.kept.values(tensor, () => storedRows(tensor, lowering, 0, layoutOf(tensor).rows))
}

/** Rows from `start` to `end` as they are packed, `[rows, columns]`. */
function storedRows(tensor: Tensor, lowering: Lowering, start: number, end: number): string {
  const { columns } = layoutOf(tensor)
  const { emitter, weightView } = lowering
  const half = halfOf(layoutOf(tensor))
  if (half) {
    const shape = [end - start, columns]
    const view = weightView(tensor.node.inputs[0], half, shape, 2 * start * columns)
    return typed(emitter, emitter.node('Cast', [view], { to: int(ONNX_DTYPES.float32) }), 'float32', shape)
  }
  const values = isTable(layoutOf(tensor))
    ? codebookValues(tensor, lowering, start, end)
    : wholeNumbers(tensor, lowering, start, end)
  const matrix = emitter.node('Reshape', [values, emitter.int64([end - start, columns])])
  emitter.types.set(matrix, { dtype: 'float32', shape: [end - start, columns] })
  return matrix
}

/** `[blocks, blockSize]`: an axis of scales is dequantised faster than blocks within rows. */
function wholeNumbers({ node }: Tensor, { emitter, weightView }: Lowering, start: number, end: number): string {
  const { scheme, columns, blockSize: own, turned } = node.attributes.layout as QuantizedMatrix
  // Where all blocks of a row have one scale, the row is the block.
  const blockSize = turned ? columns : own
  const [packed, scales, zeroPoints] = turned ? [node.inputs[0], node.inputs[4]] : node.inputs
  const [dtype, perByte] = scheme === 'int8' ? (['uint8', 1] as const) : (['uint4', 2] as const)
  const [first, blocks] = [(start * columns) / blockSize, ((end - start) * columns) / blockSize]
  const zeros = zeroPoints
    ? weightView(zeroPoints, dtype, [blocks], first / perByte)
    : typed(
        emitter,
        emitter.node('Expand', [emitter.constant([128], 'uint8', [1]), emitter.int64([blocks])]),
        'uint8',
        [blocks],
      )
  const values = weightView(packed, dtype, [blocks, blockSize], (start * columns) / perByte)
  const operands = [values, weightView(scales, 'float32', [blocks], 4 * first), zeros]
  const result = emitter.node('DequantizeLinear', operands, { axis: int(0) })
  return typed(emitter, result, 'float32', [blocks, blockSize])
}

/** Notes the type of a value, which the forecast of memory needs; gives its name. */
function typed(emitter: Lowering['emitter'], name: string, dtype: DType, shape: Shape): string {
  emitter.types.set(name, { dtype, shape })
  return name
}

/** `[blocks, blockSize]`: four values at once are looked up by the 16 bits that hold them. */
function codebookValues({ node }: Tensor, lowering: Lowering, start: number, end: number): string {
  const { columns, blockSize } = node.attributes.layout as QuantizedMatrix
  const [packed, scales] = node.inputs
  const { emitter, weightView } = lowering
  const [first, blocks] = [(start * columns) / blockSize, ((end - start) * columns) / blockSize]
  const codes = weightView(packed, 'uint16', [blocks, blockSize / 4], (start * columns) / 2)
  const factors = weightView(scales, 'float32', [blocks, 1], 4 * first)
  return scaledCodes(node, { codes, shape: [blocks, blockSize / 4] }, factors, [blocks, blockSize], emitter)
}

/**
 * Codes, four in a value, as what they stand for.
 *
 * @param shape `[-1, blockSize]` where the number of blocks is known at run time only
 */
function scaledCodes(
  node: Node,
  { codes, shape: from }: { codes: string; shape: Shape },
  scales: string,
  shape: readonly number[],
  emitter: Lowering['emitter'],
): string {
  const result: Shape = [multiplyDims(...from, 4 / shape[1]), shape[1]]
  const positions = typed(emitter, emitter.node('Cast', [codes], { to: int(ONNX_DTYPES.int32) }), 'int32', from)
  const values = typed(emitter, emitter.node('Gather', [fourValues(node, emitter), positions]), 'float32', [...from, 4])
  const blocks = typed(emitter, emitter.node('Reshape', [values, emitter.int64(shape)]), 'float32', result)
  return typed(emitter, emitter.node('Mul', [blocks, scales]), 'float32', result)
}

/** float32 `[65536, 4]`: for each 16 bits the four values whose codes they hold, the upper half of a byte first. */
function fourValues({ attributes }: Node, emitter: Lowering['emitter']): string {
  const table = attributes.codebook as readonly number[]
  const valueAt = (i: number) => table[((i >> 2) >> [4, 0, 12, 8][i & 3]) & 15]
  return emitter.table(`codebook ${table}`, [65536, 4], () =>
    Float32Array.from({ length: 65536 * 4 }, (_, i) => valueAt(i)),
  )
}

/** Rows of a quantised table, dequantised alone; undefined where no kernel does that. */
function dequantizedRows(table: Tensor, indices: string, { shape }: Tensor, lowering: Lowering): string | undefined {
  const layout = layoutOf(table)
  const { scheme, rows, columns, blockSize, symmetric, transposed } = layout
  const { emitter, shapes, cpu, weightView } = lowering
  if (transposed) return undefined
  const [packed, scales, zeroPoints] = table.node.inputs
  const half = halfOf(layout)
  if (half) {
    const picked = emitter.node('Gather', [weightView(packed, half, [rows, columns]), indices], { axis: int(0) })
    typed(emitter, picked, half, [...shape, columns])
    return emitter.node('Cast', [picked], { to: int(ONNX_DTYPES.float32) })
  }
  if (isTable(layout)) {
    if (columns % blockSize) return undefined
    const perRow = columns / blockSize
    const pick = (name: string) => emitter.node('Gather', [name, indices], { axis: int(0) })
    const codes = pick(weightView(packed, 'uint16', [rows, columns / 4]))
    const scaled = scaledCodes(
      table.node,
      { codes, shape: [...shape, columns / 4] },
      emitter.node('Reshape', [pick(weightView(scales, 'float32', [rows, perRow])), emitter.int64([-1, 1])]),
      [-1, blockSize],
      emitter,
    )
    return shapes.reshape(scaled, [multiplyDims(...shape, perRow), blockSize], [...shape, columns])
  }
  if (!cpu) return undefined
  const bits = scheme === 'int8' ? 8 : 4
  const operands = [
    weightView(packed, 'uint8', [rows, (columns * bits) / 8]),
    indices,
    weightView(scales, 'float32', [rows, columns / blockSize]),
  ]
  if (!symmetric) operands.push(weightView(zeroPoints, 'uint8', [rows, ((columns / blockSize) * bits) / 8]))
  const attributes = { gather_axis: int(0), quantize_axis: int(1), block_size: int(blockSize), bits: int(bits) }
  return emitter.node('GatherBlockQuantized', operands, attributes, MICROSOFT)
}

/** A dense layer: one kernel on the packed weight, or the dequantised weight in a product of its own. */
function quantizedLinear(node: Node, nameOf: (tensor: Tensor) => string, lowering: Lowering): string {
  const [x, weight, bias] = node.inputs
  const { emitter, shapes, cpu, weightView, dequantize, mapOnce } = lowering
  const layout = layoutOf(weight)
  const { scheme, rows, columns, blockSize, symmetric, transposed } = layout
  // Kernels take the weight with its outputs as rows.
  const isKernelForm = cpu && transposed === node.attributes.transposed
  const dims = { K: int(columns), N: int(rows), block_size: int(blockSize) }
  const [packed, scales, zeroPoints] = weight.node.inputs
  const withBias = (result: string) => (bias ? emitter.node('Add', [result, nameOf(bias)]) : result)
  if (isKernelForm && isTable(layout) && !mapOnce) {
    const operands = [
      nameOf(x),
      weightView(packed, 'uint8', [(rows * columns) / 2]),
      weightView(scales, 'float32', [(rows * columns) / blockSize]),
    ]
    const attributes = { ...dims, quant_type: int(scheme === 'nf4' ? 1 : 0) }
    return withBias(emitter.node('MatMulBnb4', operands, attributes, MICROSOFT))
  }
  if (isKernelForm && !dequantize && !isTable(layout) && !halfOf(layout)) {
    const bits = scheme === 'int8' ? 8 : 4
    const perRow = columns / blockSize
    const operands = [
      nameOf(x),
      weightView(packed, 'uint8', [rows, perRow, (blockSize * bits) / 8]),
      weightView(scales, 'float32', [rows, perRow]),
    ]
    if (!symmetric) operands.push(weightView(zeroPoints, 'uint8', [rows, (perRow * bits) / 8]))
    const attributes = { ...dims, bits: int(bits), accuracy_level: int(4) }
    return withBias(emitter.node('MatMulNBits', operands, attributes, MICROSOFT))
  }
  const [inputs, outputs] = [x.shape.at(-1)!, node.outputs[0].shape.at(-1)!]
  const count: Dim = multiplyDims(...x.shape.slice(0, -1))
  const flat = x.rank === 2 ? nameOf(x) : shapes.reshape(nameOf(x), x.shape, [count, inputs])
  emitter.types.set(flat, { dtype: 'float32', shape: [count, inputs] })
  const isTurned = transposed === node.attributes.transposed
  const gemm = (values: string) => emitter.node('Gemm', [flat, values], { transB: int(Number(isTurned)) })
  const pieces = isTurned ? piecesOf(weight, lowering) : []
  const parts = pieces.map(([start, end]) => gemm(storedRows(weight, lowering, start, end)))
  const product = parts.length ? emitter.node('Concat', parts, { axis: int(1) }) : gemm(storedValues(weight, lowering))
  emitter.types.set(product, { dtype: 'float32', shape: [count, outputs] })
  const result = withBias(product)
  if (x.rank === 2) return result
  emitter.types.set(result, { dtype: 'float32', shape: [count, outputs] })
  return shapes.reshape(result, [count, outputs], node.outputs[0].shape)
}

/** Above this many values a matrix is dequantised in pieces of rows, so that the whole never exists. */
const WHOLE = 2 ** 23

/** The rows of the pieces of a large matrix; none where it is small or kept, or its blocks do not end with its rows. */
function piecesOf(tensor: Tensor, { kept }: Lowering): [start: number, end: number][] {
  const { rows, columns, blockSize } = layoutOf(tensor)
  if (kept.has(tensor)) return []
  const count = Math.ceil((rows * columns) / WHOLE)
  if (count < 2 || columns % blockSize) return []
  const length = Math.ceil(rows / count)
  return Array.from({ length: Math.ceil(rows / length) }, (_, i) => [i * length, Math.min(rows, (i + 1) * length)])
}

/** `a · W` of a W with outputs as rows, as in the backward pass of a dense layer; undefined for other products. */
function quantizedProduct(
  node: Node,
  nameOf: (tensor: Tensor) => string,
  lowering: Lowering,
): readonly string[] | undefined {
  const [a, weight] = node.inputs
  const { transA, transB, alpha } = node.attributes as { transA: boolean; transB: boolean; alpha: number }
  const layout = layoutOf(weight)
  const { emitter } = lowering
  if (transA || transB !== layout.transposed || alpha !== 1) return undefined
  const name = nameOf(a)
  const pieces = piecesOf(weight, lowering)
  if (pieces.length === 0) return [emitter.node('MatMul', [name, storedValues(weight, lowering)])]
  let total: string | undefined
  for (const [start, end] of pieces) {
    const bounds = [emitter.int64([start]), emitter.int64([end]), emitter.int64([-1])]
    const part = emitter.node('Slice', [name, ...bounds])
    const product = emitter.node('MatMul', [part, storedRows(weight, lowering, start, end)])
    total = total === undefined ? product : emitter.node('Add', [total, product])
    emitter.types.set(total, node.outputs[0])
  }
  return [total!]
}
