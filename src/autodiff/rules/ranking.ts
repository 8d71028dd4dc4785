/** @file Gradients of running sums and of the choice of the largest elements. */
import { cumulativeSum, scatterAddElements, zeros } from '../../graph/index.ts'
import { defineGradient } from '../rule.ts'

defineGradient('CumSum', ({ node, grad, give }) => {
  give(0, cumulativeSum(grad, node.attributes.axis as number, !node.attributes.reverse))
})

// The positions have no gradient.
defineGradient('TopK', ({ grads: [grad], inputs: [x], outputs: [, indices], give }) => {
  if (grad) give(0, scatterAddElements(zeros(grad.graph, x.shape, x.dtype), indices, grad, x.rank - 1))
})
