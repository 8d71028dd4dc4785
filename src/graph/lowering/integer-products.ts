/** @file Products with int8 weights in 8-bit arithmetic: what they are multiplied with is rounded to 8 bits too. */
import type { Node, Tensor } from '../graph.ts'
import type { QuantizedMatrix } from '../operators/quantized.ts'
import type { Lowering } from './operators.ts'

/**
 * Which products with weights that are held turned round (`QuantizedMatrix.turned`) are computed in 8-bit arithmetic:
 * none, those of the forward pass, or those of the backward pass too.
 */
export type IntegerProducts = 'exact' | 'int8' | 'int8-gradients'

const MICROSOFT = 'com.microsoft'
/** Below every magnitude that matters, so that rows of zeros can be divided by it. */
const TINY = 1e-30

/**
 * Writes a product with a quantised matrix in 8-bit arithmetic; undefined where it is to be exact.
 *
 * Weights are signed and at most 63: kernels of processors without VNNI add two products in 16 bits, which would overflow
 * with larger ones. Unsigned weights would not overflow, but take kernels that are a fifth to a third slower.
 */
export function lowerInteger(node: Node, nameOf: (tensor: Tensor) => string, lowering: Lowering): string | undefined {
  const [x, weight, bias] = node.inputs
  const { turned, transposed } = weight.node.attributes.layout as QuantizedMatrix
  const { products, cpu } = lowering
  if (!cpu || !turned || products === 'exact') return undefined
  if (node.op === 'Linear' && transposed === node.attributes.transposed) {
    return linear(x, weight, bias && nameOf(bias), nameOf(x), lowering)
  }
  const { transA, transB, alpha } = node.attributes
  if (node.op === 'MatMul' && products === 'int8-gradients' && !transA && transB === transposed && alpha === 1) {
    return backward(nameOf(x), x, weight, lowering)
  }
  return undefined
}

/** `x · Wᵀ + bias`, x with one scale for all of it. */
function linear(x: Tensor, weight: Tensor, bias: string | undefined, name: string, lowering: Lowering): string {
  const { emitter, weightView } = lowering
  const { rows, columns } = weight.node.attributes.layout as QuantizedMatrix
  const [, , turned, , scales] = weight.node.inputs
  const product = (a: string, ...more: string[]) => {
    const operands = [a, weightView(turned, 'int8', [columns, rows]), weightView(scales, 'float32', [rows])]
    return emitter.node('DynamicQuantizeMatMul', [...operands, '', ...more], {}, MICROSOFT)
  }
  if (columns <= rows) return product(name, ...(bias === undefined ? [] : [bias]))
  // The wide inner states of feed-forward layers have single rows that are far larger than all others. Dividing each row
  // by its largest value gives every row a scale of its own; where the result is narrow that costs little.
  const lead = x.shape.slice(0, -1)
  const typed = (value: string, shape: Tensor['shape']) => {
    emitter.types.set(value, { dtype: 'float32', shape })
    return value
  }
  const magnitudes = typed(emitter.node('Abs', [name]), x.shape)
  const largest = typed(emitter.node('ReduceMax', [magnitudes, emitter.int64([-1])]), [...lead, 1])
  const factors = typed(emitter.node('Max', [largest, emitter.constant([TINY], 'float32', [])]), [...lead, 1])
  const even = typed(emitter.node('Div', [name, factors]), x.shape)
  const result = typed(emitter.node('Mul', [product(even), factors]), [...lead, rows])
  return bias === undefined ? result : emitter.node('Add', [result, bias])
}

/** `a · W` as in the backward pass. The scales belong to what is summed over, so `a` takes them before it is rounded. */
function backward(name: string, a: Tensor, weight: Tensor, { emitter, weightView }: Lowering): string {
  const { rows, columns } = weight.node.attributes.layout as QuantizedMatrix
  const [, , , signed, scales] = weight.node.inputs
  const scaled = emitter.node('Mul', [name, weightView(scales, 'float32', [rows])])
  emitter.types.set(scaled, { dtype: 'float32', shape: a.shape })
  const operands = [scaled, weightView(signed, 'int8', [rows, columns]), emitter.constant([1], 'float32', [])]
  return emitter.node('DynamicQuantizeMatMul', operands, {}, MICROSOFT)
}
