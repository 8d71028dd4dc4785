/** @file Running sums. */
import { defineOperator, graphOf, type Operand, type Tensor, toTensor } from '../graph.ts'
import { normalizeAxis } from './shape.ts'

defineOperator('CumSum', ([x]) => [{ dtype: x.dtype, shape: x.shape }])

/** The sum of the elements up to and with each one along `axis`; from the end with `reverse`. */
export function cumulativeSum(x: Operand, axis: number, reverse = false): Tensor {
  const tensor = toTensor(graphOf([x]), x)
  return tensor.graph.add('CumSum', [tensor], { axis: normalizeAxis(axis, tensor.rank), reverse })[0]
}
