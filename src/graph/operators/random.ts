/** @file Random numbers inside a graph, and dropout. */
import type { Shape } from '../dim.ts'
import { defineOperator, graphOf, type Operand, type Tensor, toTensor } from '../graph.ts'
import { mul } from './elementwise.ts'

defineOperator('DropoutMask', (_, { shape }) => [{ dtype: 'float32', shape: shape as Shape }])

/**
 * In training, zeroes each element with probability `p` and scales the rest by `1 / (1 - p)`; otherwise x itself.
 * The mask is drawn by the runtime from the seed of the run and this call's position, so a step can be repeated.
 */
export function dropout(x: Operand, p: number): Tensor {
  const graph = graphOf([x])
  const tensor = toTensor(graph, x)
  if (!(p >= 0 && p < 1)) throw new Error(`dropout: the probability must lie in [0, 1), got ${p}`)
  if (!graph.training || p === 0) return tensor
  const site = graph.nodes.filter(node => node.op === 'DropoutMask').length
  return mul(tensor, graph.add('DropoutMask', [], { shape: tensor.shape, keep: 1 - p, site })[0])
}
