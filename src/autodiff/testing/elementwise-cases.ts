/** @file Gradient cases: the operators that work element by element. */
import * as g from '../../graph/index.ts'
import { type CaseInput, declared, float, floatIn, type GradientCase, given } from './finite-differences.ts'

const unary: GradientCase[] = (
  [
    ['Neg', g.neg],
    ['Abs', g.abs],
    ['Exp', g.exp],
    ['Reciprocal', g.reciprocal, 0.5, 2],
    ['Log', g.log, 0.4, 2],
    ['Sqrt', g.sqrt, 0.4, 2],
    ['Erf', g.erf],
    ['Tanh', g.tanh],
    ['Sigmoid', g.sigmoid],
    ['Relu', g.relu],
    ['Softplus', g.softplus],
    ['Sin', g.sin],
    ['Cos', g.cos],
    ['Silu', g.silu],
    ['Gelu', (x: g.Tensor) => g.gelu(x)],
    ['Gelu tanh', (x: g.Tensor) => g.gelu(x, 'tanh')],
  ] as [string, (x: g.Tensor) => g.Tensor, number?, number?][]
).map(([name, build, low, high]) => ({
  name,
  inputs: [low === undefined ? float(2, 5) : floatIn(low, high!, 2, 5)],
  build,
}))

let operands = 0

/** Values that never come near those of the operand before or after, where the extremum has a kink. */
function apart(...dims: number[]): CaseInput {
  const offset = 0.1 + 0.2 * (operands++ % 2)
  const input = float(...dims)
  const values = input.data.data as Float32Array
  values.forEach((value, i) => {
    values[i] = 0.4 * Math.round(value / 0.4) + offset
  })
  return input
}

const binary: GradientCase[] = (
  [
    ['Add', g.add],
    ['Sub', g.sub],
    ['Mul', g.mul],
    ['Div', g.div],
    ['Pow', g.pow],
    ['Max', g.maximum],
    ['Min', g.minimum],
  ] as [string, (a: g.Tensor, b: g.Tensor) => g.Tensor][]
).flatMap(([name, build]) => {
  const operand = (...dims: number[]) => {
    if (name === 'Pow' || name === 'Div') return floatIn(0.5, 2, ...dims)
    return name === 'Max' || name === 'Min' ? apart(...dims) : float(...dims)
  }
  return [
    { name: `${name} of equal shapes`, inputs: [operand(2, 3), operand(2, 3)], build },
    { name: `${name} with b broadcast`, inputs: [operand(2, 2, 3), operand(3)], build },
    { name: `${name} with a broadcast`, inputs: [operand(2, 1), operand(3, 2, 2)], build },
    { name: `${name} with both broadcast`, inputs: [operand(3, 1), operand(1, 2)], build },
    { name: `${name} with a scalar`, inputs: [operand(), operand(4)], build },
    {
      name: `${name} broadcast along symbolic axes`,
      inputs: [declared(operand(2, 3), 'batch', 'width'), declared(operand(2, 1), 'batch', 1)],
      build,
    },
  ]
})

/** Element by element. */
export const ELEMENTWISE_CASES: readonly GradientCase[] = [
  ...unary,
  ...binary,
  { name: 'Pow with a constant exponent', inputs: [float(6)], build: x => g.pow(x, 3) },
  { name: 'Pow of zero', inputs: [given([0, 1, -1])], build: x => g.pow(x, 2) },
  {
    name: 'Cast to float64 and back',
    inputs: [float(4)],
    build: x => g.cast(g.mul(g.cast(x, 'float64'), 3), 'float32'),
  },
  {
    name: 'Where',
    inputs: [given([1, 0, 1, 0], 'bool'), float(4), float(4)],
    build: (condition, a, b) => g.where(condition, a, b),
  },
  {
    name: 'Where with everything broadcast',
    inputs: [given([[1], [0]], 'bool'), float(3), float(2, 2, 1)],
    build: (condition, a, b) => g.where(condition, a, b),
  },
  {
    name: 'Where with a number and a condition on x',
    inputs: [float(6)],
    build: x => g.where(g.greater(x, 0), g.mul(x, x), 0),
  },
  { name: 'numbers on either side', inputs: [floatIn(0.5, 2, 4)], build: x => g.div(1, g.sub(3, g.mul(0.5, x))) },
]
