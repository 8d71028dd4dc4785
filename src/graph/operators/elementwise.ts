/** @file Operators that work element by element, with broadcasting. */
import { broadcastShapes } from '../dim.ts'
import type { DType } from '../dtype.ts'
import { defineOperator, graphOf, type Infer, type Operand, Tensor, toTensor, toTensors } from '../graph.ts'

const sameType: Infer = ([x]) => [{ dtype: x.dtype, shape: x.shape }]

const broadcast: Infer = ([a, b]) => {
  if (a.dtype !== b.dtype) throw new Error(`element types differ; cast one of the operands`)
  return [{ dtype: a.dtype, shape: broadcastShapes(a.shape, b.shape) }]
}

const compare: Infer = inputs => [{ ...broadcast(inputs, {})[0], dtype: 'bool' }]

function unary(op: string): (x: Operand) => Tensor {
  defineOperator(op, sameType)
  return x => {
    const graph = graphOf([x])
    return graph.add(op, [toTensor(graph, x)])[0]
  }
}

function binary(op: string, infer: Infer = broadcast): (a: Operand, b: Operand) => Tensor {
  defineOperator(op, infer)
  return (a, b) => {
    const tensors = toTensors([a, b])
    return tensors[0].graph.add(op, tensors)[0]
  }
}

/** `-x`. */
export const neg = unary('Neg')
/** `|x|`. */
export const abs = unary('Abs')
/** The sign of x: -1, 0 or 1. Its gradient is zero. */
export const sign = unary('Sign')
/** e to the power of x. */
export const exp = unary('Exp')
/** The natural logarithm. */
export const log = unary('Log')
/** The square root. */
export const sqrt = unary('Sqrt')
/** `1 / x`. */
export const reciprocal = unary('Reciprocal')
/** The error function. */
export const erf = unary('Erf')
/** The hyperbolic tangent. */
export const tanh = unary('Tanh')
/** `1 / (1 + exp(-x))`. */
export const sigmoid = unary('Sigmoid')
/** `max(x, 0)`. */
export const relu = unary('Relu')
/** `log(1 + exp(x))`. */
export const softplus = unary('Softplus')
/** The sine. */
export const sin = unary('Sin')
/** The cosine. */
export const cos = unary('Cos')
/** The largest integer not above x. Its gradient is zero. */
export const floor = unary('Floor')
/** Logical negation of booleans. */
export const logicalNot = unary('Not')
/** `x * sigmoid(x)`, also called swish. */
export const silu = unary('Silu')
/** x itself, through which no gradient flows. */
export const stopGradient = unary('StopGradient')

/** `a + b`. */
export const add = binary('Add')
/** `a - b`. */
export const sub = binary('Sub')
/** `a * b`. */
export const mul = binary('Mul')
/** `a / b`. */
export const div = binary('Div')
/** `a` to the power of `b`. The gradient with respect to `b` is defined for positive `a` only. */
export const pow = binary('Pow')
/** The larger of a and b. */
export const maximum = binary('Max')
/** The smaller of a and b. */
export const minimum = binary('Min')
/** `a == b`. */
export const equal = binary('Equal', compare)
/** `a < b`. */
export const less = binary('Less', compare)
/** `a <= b`. */
export const lessOrEqual = binary('LessOrEqual', compare)
/** `a > b`. */
export const greater = binary('Greater', compare)
/** `a >= b`. */
export const greaterOrEqual = binary('GreaterOrEqual', compare)
/** Both of two booleans. */
export const logicalAnd = binary('And', compare)
/** Any of two booleans. */
export const logicalOr = binary('Or', compare)

defineOperator('Gelu', sameType)

/** The Gaussian error linear unit: exact (`x * Phi(x)`), or with the `tanh` approximation (arXiv 1606.08415). */
export function gelu(x: Operand, approximate: 'none' | 'tanh' = 'none'): Tensor {
  const graph = graphOf([x])
  return graph.add('Gelu', [toTensor(graph, x)], { approximate })[0]
}

defineOperator('Cast', ([x], { to }) => [{ dtype: to as DType, shape: x.shape }])

/** x with elements of another type. */
export function cast(x: Operand, to: DType): Tensor {
  const graph = graphOf([x])
  const tensor = toTensor(graph, x)
  return tensor.dtype === to ? tensor : graph.add('Cast', [tensor], { to })[0]
}

defineOperator('Where', ([condition, a, b]) => {
  if (condition.dtype !== 'bool') throw new Error(`the condition must be bool, not ${condition.dtype}`)
  if (a.dtype !== b.dtype) throw new Error(`the branches have different element types`)
  return [{ dtype: a.dtype, shape: broadcastShapes(condition.shape, a.shape, b.shape) }]
})

/** `a` where `condition` holds, otherwise `b`; all three are broadcast. */
export function where(condition: Tensor, a: Operand, b: Operand): Tensor {
  const dtype = [a, b].find((x): x is Tensor => x instanceof Tensor)?.dtype ?? 'float32'
  const graph = condition.graph
  return graph.add('Where', [condition, toTensor(graph, a, dtype), toTensor(graph, b, dtype)])[0]
}
