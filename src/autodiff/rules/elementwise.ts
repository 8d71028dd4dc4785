/** @file Gradients of the operators that work element by element. */
import {
  add,
  cast,
  cos,
  div,
  equal,
  erf,
  exp,
  greater,
  isFloat,
  less,
  log,
  logicalNot,
  mul,
  neg,
  type Operand,
  pow,
  sigmoid,
  sign,
  sin,
  sub,
  type Tensor,
  tanh,
  where,
} from '../../graph/index.ts'
import { defineGradient, type RuleContext, sumToShape } from '../rule.ts'

/** A rule for one input: the gradient as a function of the upstream gradient, the input and the output. */
const unary = (op: string, rule: (grad: Tensor, x: Tensor, y: Tensor) => Tensor) =>
  defineGradient(op, ({ grad, inputs, outputs, give }) => give(0, rule(grad, inputs[0], outputs[0])))

unary('Neg', grad => neg(grad))
unary('Abs', (grad, x) => mul(grad, sign(x)))
unary('Exp', (grad, _, y) => mul(grad, y))
unary('Log', (grad, x) => div(grad, x))
unary('Sqrt', (grad, _, y) => div(mul(grad, 0.5), y))
unary('Reciprocal', (grad, _, y) => neg(mul(grad, mul(y, y))))
unary('Erf', (grad, x) => mul(grad, mul(exp(neg(mul(x, x))), 2 / Math.sqrt(Math.PI))))
unary('Tanh', (grad, _, y) => mul(grad, sub(1, mul(y, y))))
unary('Sigmoid', (grad, _, y) => mul(grad, mul(y, sub(1, y))))
unary('Relu', (grad, _, y) => where(greater(y, 0), grad, 0))
unary('Softplus', (grad, x) => mul(grad, sigmoid(x)))
unary('Sin', (grad, x) => mul(grad, cos(x)))
unary('Cos', (grad, x) => neg(mul(grad, sin(x))))

// silu' = s + y (1 - s) with s = sigmoid(x).
unary('Silu', (grad, x, y) => {
  const s = sigmoid(x)
  return mul(grad, add(s, mul(y, sub(1, s))))
})

defineGradient('Gelu', ({ node, grad, inputs: [x], give }) => {
  give(0, node.attributes.approximate === 'tanh' ? geluTanhGradient(grad, x) : geluGradient(grad, x))
})

/** `Phi(x) + x phi(x)`, arranged so that few passes over the activation are needed. */
function geluGradient(grad: Tensor, x: Tensor): Tensor {
  const z = mul(x, Math.SQRT1_2)
  const density = mul(exp(neg(mul(z, z))), mul(z, 2 / Math.sqrt(Math.PI)))
  return mul(mul(grad, 0.5), add(add(erf(z), density), 1))
}

function geluTanhGradient(grad: Tensor, x: Tensor): Tensor {
  const c = Math.sqrt(2 / Math.PI)
  const square = mul(x, x)
  const t = tanh(mul(x, add(mul(square, c * 0.044715), c)))
  const inner = add(mul(square, c * 3 * 0.044715), c)
  const slope = mul(mul(x, inner), sub(1, mul(t, t)))
  return mul(mul(grad, 0.5), add(add(t, slope), 1))
}

defineGradient('Cast', ({ grad, inputs: [x], give }) => {
  if (isFloat(x.dtype)) give(0, cast(grad, x.dtype))
})

/** Gives an input of a broadcasting operator its gradient, computed only when it is wanted. */
function giveBroadcast({ inputs, needs, give }: RuleContext, input: number, gradient: () => Tensor): void {
  if (needs(input)) give(input, sumToShape(gradient(), inputs[input].shape))
}

defineGradient('Add', context => {
  giveBroadcast(context, 0, () => context.grad)
  giveBroadcast(context, 1, () => context.grad)
})

defineGradient('Sub', context => {
  giveBroadcast(context, 0, () => context.grad)
  giveBroadcast(context, 1, () => neg(context.grad))
})

defineGradient('Mul', context => {
  const [a, b] = context.inputs
  giveBroadcast(context, 0, () => mul(context.grad, b))
  giveBroadcast(context, 1, () => mul(context.grad, a))
})

defineGradient('Div', context => {
  const [, b] = context.inputs
  giveBroadcast(context, 0, () => div(context.grad, b))
  giveBroadcast(context, 1, () => neg(div(mul(context.grad, context.outputs[0]), b)))
})

defineGradient('Pow', context => {
  const [a, b] = context.inputs
  giveBroadcast(context, 0, () => mul(context.grad, mul(b, pow(a, sub(b, 1)))))
  giveBroadcast(context, 1, () => mul(context.grad, mul(context.outputs[0], log(a))))
})

/** Where two operands are equal each takes half, as in PyTorch. */
const extremum = (op: string, wins: (a: Operand, b: Operand) => Tensor) =>
  defineGradient(op, context => {
    const [a, b] = context.inputs
    const half = mul(cast(equal(a, b), a.dtype), 0.5)
    giveBroadcast(context, 0, () => mul(context.grad, add(cast(wins(a, b), a.dtype), half)))
    giveBroadcast(context, 1, () => mul(context.grad, add(cast(wins(b, a), a.dtype), half)))
  })

extremum('Max', greater)
extremum('Min', less)

defineGradient('Where', context => {
  const [condition] = context.inputs
  const zero = context.grad.graph.constant(0, context.grad.dtype)
  giveBroadcast(context, 1, () => where(condition, context.grad, zero))
  giveBroadcast(context, 2, () => where(logicalNot(condition), context.grad, zero))
})
