/** @file Matrix products. */
import { broadcastShapes, type Shape } from '../dim.ts'
import { defineOperator, graphOf, type Operand, type Tensor, toTensor, toTensors } from '../graph.ts'

/** How {@link matmul} reads its operands. */
export interface MatMulOptions {
  /** Take the transpose of the last two axes of `a`. */
  transA?: boolean
  /** Take the transpose of the last two axes of `b`. */
  transB?: boolean
  /** A factor on the result. */
  alpha?: number
}

const matrix = (shape: Shape, transposed: boolean) => {
  const [rows, columns] = shape.slice(-2)
  return transposed ? [columns, rows] : [rows, columns]
}

defineOperator('MatMul', ([a, b], { transA, transB }) => {
  if (a.rank < 2 || b.rank < 2) throw new Error('both operands need at least two axes')
  if (a.dtype !== b.dtype) throw new Error('element types differ')
  const [m, k] = matrix(a.shape, transA as boolean)
  const [k2, n] = matrix(b.shape, transB as boolean)
  if (k !== k2) throw new Error(`inner dimensions differ: ${k} and ${k2}`)
  return [{ dtype: a.dtype, shape: [...broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2)), m, n] }]
})

/** The product of matrices `[..., m, k]` and `[..., k, n]`; leading axes are broadcast. */
export function matmul(a: Operand, b: Operand, options: MatMulOptions = {}): Tensor {
  const tensors = toTensors([a, b])
  const { transA = false, transB = false, alpha = 1 } = options
  return tensors[0].graph.add('MatMul', tensors, { transA, transB, alpha })[0]
}

defineOperator('Linear', ([x, weight, bias], { transposed }) => {
  if (weight.rank !== 2) throw new Error(`the weight must have two axes, not ${weight.rank}`)
  const [output, input] = matrix(weight.shape, transposed as boolean)
  if (x.shape.at(-1) !== input) throw new Error(`the last axis of x is ${x.shape.at(-1)}, the weight expects ${input}`)
  if (bias && (bias.rank !== 1 || bias.shape[0] !== output)) throw new Error(`the bias must have shape [${output}]`)
  return [{ dtype: x.dtype, shape: [...x.shape.slice(0, -1), output] }]
})

/**
 * `x Wᵀ + bias`, a dense layer.
 *
 * @param x `[..., in]`
 * @param weight `[out, in]`, or `[in, out]` with `transposed` (GPT-2's Conv1D)
 * @param bias `[out]`
 * @returns `[..., out]`
 */
export function linear(x: Operand, weight: Operand, bias?: Operand, transposed = false): Tensor {
  const graph = graphOf([x, weight, bias])
  const inputs = [toTensor(graph, x), toTensor(graph, weight)]
  if (bias !== undefined) inputs.push(toTensor(graph, bias))
  return graph.add('Linear', inputs, { transposed })[0]
}
