/** @file Operators that reduce axes to one element. */
import { type Dim, multiplyDims } from '../dim.ts'
import { defineOperator, graphOf, type Infer, type Operand, type Tensor, toTensor } from '../graph.ts'
import { cast, div } from './elementwise.ts'
import { dimValue } from './indexing.ts'
import { normalizeAxis } from './shape.ts'

const reduce: Infer = ([x], { axes, keepDims }) => {
  const drop = axes as readonly number[]
  if (new Set(drop).size !== drop.length) throw new Error(`an axis is named twice in [${drop}]`)
  const shape = x.shape.flatMap<Dim>((dim, i) => (drop.includes(i) ? (keepDims ? [1] : []) : [dim]))
  return [{ dtype: x.dtype, shape }]
}

function reduction(op: string) {
  defineOperator(op, reduce)
  return (x: Operand, axes?: readonly number[], keepDims = false): Tensor => {
    const tensor = toTensor(graphOf([x]), x)
    const at = (axes ?? tensor.shape.map((_, i) => i))
      .map(axis => normalizeAxis(axis, tensor.rank))
      .sort((a, b) => a - b)
    return at.length === 0 ? tensor : tensor.graph.add(op, [tensor], { axes: at, keepDims })[0]
  }
}

/** The sum over `axes` (all by default). */
export const sum = reduction('ReduceSum')
/** The largest element over `axes` (all by default); ties share the gradient equally. */
export const max = reduction('ReduceMax')

/** The mean over `axes` (all by default). */
export function mean(x: Operand, axes?: readonly number[], keepDims = false): Tensor {
  const tensor = toTensor(graphOf([x]), x)
  const at = (axes ?? tensor.shape.map((_, i) => i)).map(axis => normalizeAxis(axis, tensor.rank))
  const count = multiplyDims(...at.map(axis => tensor.shape[axis]))
  const total = sum(tensor, at, keepDims)
  return div(total, typeof count === 'number' ? count : cast(dimValue(tensor.graph, count), tensor.dtype))
}
