/** @file The largest elements along an axis. */
import { defineOperator, graphOf, type Operand, type Tensor, toTensor } from '../graph.ts'

defineOperator('TopK', ([x], { count }) => {
  const length = x.shape.at(-1)
  if (length === undefined) throw new Error('a scalar has no axis to choose from')
  const wanted = count as number
  if (!(Number.isInteger(wanted) && wanted >= 1) || (typeof length === 'number' && wanted > length)) {
    throw new Error(`${wanted} elements cannot be chosen from an axis of ${length}`)
  }
  const shape = [...x.shape.slice(0, -1), wanted]
  return [
    { dtype: x.dtype, shape },
    { dtype: 'int64', shape },
  ]
})

/** The `count` largest elements of the last axis, the largest first, and their positions (int64): `[..., count]` each. */
export function topK(x: Operand, count: number): { values: Tensor; indices: Tensor } {
  const tensor = toTensor(graphOf([x]), x)
  const [values, indices] = tensor.graph.add('TopK', [tensor], { count })
  return { values, indices }
}
