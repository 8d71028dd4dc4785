/** @file Gradients of the operators that move elements. */
import {
  addDims,
  type Dim,
  equal,
  gather,
  gatherElements,
  pad,
  reshape,
  type Shape,
  scatterAddElements,
  scatterAddRows,
  scatterElements,
  slice,
  subtractDims,
  type Tensor,
  transpose,
  unsqueeze,
  where,
  zeros,
} from '../../graph/index.ts'
import { defineGradient, sumToShape } from '../rule.ts'

defineGradient('Reshape', ({ grad, inputs: [x], give }) => give(0, reshape(grad, x.shape)))

defineGradient('Expand', ({ grad, inputs: [x], give }) => give(0, sumToShape(grad, x.shape)))

defineGradient('Transpose', ({ node, grad, give }) => {
  const perm = node.attributes.perm as readonly number[]
  give(
    0,
    transpose(
      grad,
      perm.map((_, axis) => perm.indexOf(axis)),
    ),
  )
})

defineGradient('Slice', ({ node, grad, inputs: [x], give }) => {
  const { axis, start, end } = node.attributes as { axis: number; start: Dim; end: Dim }
  give(0, pad(grad, axis, start, subtractDims(x.shape[axis], end)))
})

defineGradient('Concat', ({ node, grad, inputs, needs, give }) => {
  const axis = node.attributes.axis as number
  let start: Dim = 0
  inputs.forEach((input, i) => {
    const end = addDims(start, input.shape[axis])
    if (needs(i)) give(i, slice(grad, axis, start, end))
    start = end
  })
})

defineGradient('Pad', ({ node, grad, inputs: [x], give }) => {
  const pads = node.attributes.pads as Shape
  give(
    0,
    x.shape.reduce<Tensor>((part, dim, axis) => slice(part, axis, pads[axis], addDims(pads[axis], dim)), grad),
  )
})

defineGradient('Gather', ({ node, grad: upstream, inputs: [data, indices], give }) => {
  const { axis, padding } = node.attributes as { axis: number; padding?: number }
  const grad = padding === undefined ? upstream : where(unsqueeze(equal(indices, padding), [-1]), 0, upstream)
  const { node: producer } = indices
  if (producer.op === 'Constant' && indices.rank === 0) {
    const index = (producer.attributes.values as readonly number[])[0]
    const start = index < 0 ? addDims(data.shape[axis], index) : index
    give(0, pad(unsqueeze(grad, [axis]), axis, start, subtractDims(data.shape[axis], addDims(start, 1))))
    return
  }
  // The indexed axes come to the front, rows are summed there, and the axis goes back to its place.
  const front = Array.from({ length: indices.rank }, (_, i) => axis + i)
  const rest = Array.from({ length: grad.rank }, (_, i) => i).filter(i => !front.includes(i))
  const rows = scatterAddRows(indices, axis === 0 ? grad : transpose(grad, [...front, ...rest]), data.shape[axis])
  const back = Array.from({ length: data.rank }, (_, i) => (i === axis ? 0 : i < axis ? i + 1 : i))
  give(0, axis === 0 ? rows : transpose(rows, back))
})

defineGradient('GatherElements', ({ node, grad, inputs: [data, indices], give }) => {
  give(0, scatterAddElements(zeros(grad.graph, data.shape, data.dtype), indices, grad, node.attributes.axis as number))
})

defineGradient('ScatterElements', ({ node, grad, inputs: [, indices], needs, give }) => {
  const { axis, reduction } = node.attributes as { axis: number; reduction: string }
  // What was replaced has no effect any more.
  const isKept = reduction === 'add'
  if (needs(0)) give(0, isKept ? grad : scatterElements(grad, indices, zeros(grad.graph, indices.shape), axis))
  if (needs(2)) give(2, gatherElements(grad, indices, axis))
})

defineGradient('ScatterRows', ({ grad, inputs: [indices], give }) => give(1, gather(grad, indices)))
