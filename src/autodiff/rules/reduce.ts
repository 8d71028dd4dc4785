/** @file Gradients of reductions, softmax and normalisations. */
import { cast, div, equal, exp, expand, mean, mul, reshape, sub, sum, type Tensor } from '../../graph/index.ts'
import { defineGradient, sumToShape } from '../rule.ts'

/** A reduced tensor with its lost axes back, each of length 1. */
function restoreAxes(reduced: Tensor, x: Tensor, axes: readonly number[]): Tensor {
  return reshape(
    reduced,
    x.shape.map((dim, i) => (axes.includes(i) ? 1 : dim)),
  )
}

defineGradient('ReduceSum', ({ node, grad, inputs: [x], give }) => {
  give(0, expand(restoreAxes(grad, x, node.attributes.axes as number[]), x.shape))
})

// Elements that tie for the maximum share its gradient equally, as in PyTorch's amax.
defineGradient('ReduceMax', ({ node, grad, inputs: [x], outputs: [y], give }) => {
  const axes = node.attributes.axes as number[]
  const hits = cast(equal(x, restoreAxes(y, x, axes)), x.dtype)
  give(0, mul(hits, div(restoreAxes(grad, x, axes), sum(hits, axes, true))))
})

defineGradient('Softmax', ({ node, grad, outputs: [y], give }) => {
  const axis = node.attributes.axis as number
  const weighted = mul(grad, y)
  give(0, sub(weighted, mul(y, sum(weighted, [axis], true))))
})

defineGradient('LogSoftmax', ({ node, grad, outputs: [y], give }) => {
  const axis = node.attributes.axis as number
  give(0, sub(grad, mul(exp(y), sum(grad, [axis], true))))
})

const leadingAxes = (x: Tensor) => Array.from({ length: x.rank - 1 }, (_, i) => i)

defineGradient('LayerNorm', ({ grad, inputs: [x, weight, bias], outputs: [, center, inverse], needs, give }) => {
  const normal = () => mul(sub(x, center), inverse)
  if (needs(0)) {
    const scaled = mul(grad, weight)
    const last = x.rank - 1
    const hat = normal()
    const along = mul(hat, mean(mul(scaled, hat), [last], true))
    give(0, mul(sub(sub(scaled, mean(scaled, [last], true)), along), inverse))
  }
  if (needs(1)) give(1, sum(mul(grad, normal()), leadingAxes(x)))
  if (bias && needs(2)) give(2, sumToShape(grad, bias.shape))
})

defineGradient('RmsNorm', ({ grad, inputs: [x, weight], outputs: [, inverse], needs, give }) => {
  const normal = () => mul(x, inverse)
  if (needs(0)) {
    const scaled = mul(grad, weight)
    const hat = normal()
    const along = mul(hat, mean(mul(scaled, hat), [x.rank - 1], true))
    give(0, mul(sub(scaled, along), inverse))
  }
  if (needs(1)) give(1, sum(mul(grad, normal()), leadingAxes(x)))
})
