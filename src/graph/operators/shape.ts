/** @file Operators that move elements without changing them. */
import {
  addDims,
  broadcastShapes,
  canonicalDim,
  type Dim,
  divideDims,
  formatShape,
  multiplyDims,
  type Shape,
  sizeOf,
  subtractDims,
} from '../dim.ts'
import { defineOperator, graphOf, type Operand, type Tensor, toTensor, toTensors } from '../graph.ts'

/** An axis counted from the front; negative ones count from the back. */
export function normalizeAxis(axis: number, rank: number): number {
  const result = axis < 0 ? axis + rank : axis
  if (!Number.isInteger(axis) || result < 0 || result >= Math.max(rank, 1)) {
    throw new Error(`axis ${axis} is out of range for ${rank} axes`)
  }
  return result
}

defineOperator('Reshape', ([x], { shape }) => {
  const target = shape as Shape
  if (sizeOf(target) !== sizeOf(x.shape)) {
    throw new Error(`${sizeOf(x.shape)} elements do not fit into ${formatShape(target)}`)
  }
  return [{ dtype: x.dtype, shape: target }]
})

/** x with the same elements in another shape. One dimension may be -1: it takes what is left. */
export function reshape(x: Operand, shape: Shape): Tensor {
  const graph = graphOf([x])
  const tensor = toTensor(graph, x)
  const open = shape.indexOf(-1)
  if (open !== shape.lastIndexOf(-1)) throw new Error(`Reshape: only one dimension of ${formatShape(shape)} may be -1`)
  let target: Dim[] = shape.map(canonicalDim)
  if (open >= 0) {
    const rest = multiplyDims(...shape.filter((_, i) => i !== open))
    const left = divideDims(sizeOf(tensor.shape), rest)
    if (left === undefined) {
      throw new Error(`Reshape: ${formatShape(tensor.shape)} cannot be divided into ${formatShape(shape)}`)
    }
    target = target.map((dim, i) => (i === open ? left : dim))
  }
  if (formatShape(target) === formatShape(tensor.shape)) return tensor
  return graph.add('Reshape', [tensor], { shape: target })[0]
}

/** x with axes of length 1 inserted; `axes` count in the result. */
export function unsqueeze(x: Operand, axes: readonly number[]): Tensor {
  const graph = graphOf([x])
  const tensor = toTensor(graph, x)
  const rank = tensor.rank + axes.length
  const at = new Set(axes.map(axis => normalizeAxis(axis, rank)))
  const rest = [...tensor.shape]
  return reshape(
    tensor,
    Array.from({ length: rank }, (_, i) => (at.has(i) ? 1 : rest.shift()!)),
  )
}

/** x without the given axes, which must have length 1. */
export function squeeze(x: Operand, axes: readonly number[]): Tensor {
  const graph = graphOf([x])
  const tensor = toTensor(graph, x)
  const drop = new Set(axes.map(axis => normalizeAxis(axis, tensor.rank)))
  return reshape(
    tensor,
    tensor.shape.filter((dim, i) => {
      if (drop.has(i) && dim !== 1)
        throw new Error(`squeeze: axis ${i} of ${formatShape(tensor.shape)} is not of length 1`)
      return !drop.has(i)
    }),
  )
}

defineOperator('Expand', ([x], { shape }) => {
  const target = shape as Shape
  const result = broadcastShapes(x.shape, target)
  if (formatShape(result) !== formatShape(target)) throw new Error(`cannot be expanded to ${formatShape(target)}`)
  return [{ dtype: x.dtype, shape: target }]
})

/** x repeated along axes of length 1 until it has `shape`. */
export function expand(x: Operand, shape: Shape): Tensor {
  const graph = graphOf([x])
  const tensor = toTensor(graph, x)
  const target = shape.map(canonicalDim)
  return formatShape(target) === formatShape(tensor.shape)
    ? tensor
    : graph.add('Expand', [tensor], { shape: target })[0]
}

defineOperator('Transpose', ([x], { perm }) => {
  const order = perm as readonly number[]
  if (order.length !== x.rank || new Set(order).size !== x.rank || order.some(axis => axis < 0 || axis >= x.rank)) {
    throw new Error(`[${order}] is not an order of ${x.rank} axes`)
  }
  return [{ dtype: x.dtype, shape: order.map(axis => x.shape[axis]) }]
})

/** x with its axes in another order; by default the last two change places. */
export function transpose(x: Operand, perm?: readonly number[]): Tensor {
  const graph = graphOf([x])
  const tensor = toTensor(graph, x)
  const order = perm ?? tensor.shape.map((_, i) => (i < tensor.rank - 2 ? i : 2 * tensor.rank - 3 - i))
  return graph.add('Transpose', [tensor], { perm: order })[0]
}

defineOperator('Slice', ([x], { axis, start, end }) => {
  const at = axis as number
  const negative = [start, end].some(position => typeof position === 'number' && position < 0)
  if (negative || (typeof start === 'number' && typeof end === 'number' && end < start)) {
    throw new Error(`the range ${start} to ${end} is not valid; positions count from the front`)
  }
  const length = x.shape[at]
  if (typeof end === 'number' && typeof length === 'number' && end > length) {
    throw new Error(`the range ends at ${end}, axis ${at} at ${length}`)
  }
  return [{ dtype: x.dtype, shape: x.shape.map((dim, i) => (i === at ? subtractDims(end as Dim, start as Dim) : dim)) }]
})

/** The part of x from `start` up to `end` (exclusive, by default the axis' length) along `axis`. */
export function slice(x: Operand, axis: number, start: Dim, end?: Dim): Tensor {
  const graph = graphOf([x])
  const tensor = toTensor(graph, x)
  const at = normalizeAxis(axis, tensor.rank)
  const stop = canonicalDim(end ?? tensor.shape[at])
  if (start === 0 && stop === tensor.shape[at]) return tensor
  return graph.add('Slice', [tensor], { axis: at, start: canonicalDim(start), end: stop })[0]
}

/** x cut along `axis` into parts of the given sizes, which must add up. */
export function split(x: Operand, sizes: readonly Dim[], axis: number): Tensor[] {
  const graph = graphOf([x])
  const tensor = toTensor(graph, x)
  const length = tensor.shape[normalizeAxis(axis, tensor.rank)]
  if (addDims(...sizes) !== length) throw new Error(`split: the sizes [${sizes}] do not add up to ${length}`)
  let start: Dim = 0
  return sizes.map(size => {
    const end = addDims(start, size)
    const part = slice(tensor, axis, start, end)
    start = end
    return part
  })
}

defineOperator('Concat', (inputs, { axis }) => {
  const at = axis as number
  const [first] = inputs
  for (const input of inputs) {
    const fits = input.rank === first.rank && input.shape.every((dim, i) => i === at || dim === first.shape[i])
    if (!fits || input.dtype !== first.dtype) throw new Error(`the parts do not fit together along axis ${at}`)
  }
  const total = addDims(...inputs.map(input => input.shape[at]))
  return [{ dtype: first.dtype, shape: first.shape.map((dim, i) => (i === at ? total : dim)) }]
})

/** Tensors joined along `axis`. */
export function concat(parts: readonly Operand[], axis: number): Tensor {
  if (parts.length === 0) throw new Error('concat: there is nothing to join')
  const tensors = toTensors(parts)
  if (tensors.length === 1) return tensors[0]
  return tensors[0].graph.add('Concat', tensors, { axis: normalizeAxis(axis, tensors[0].rank) })[0]
}

defineOperator('Pad', ([x], { pads }) => {
  const amounts = pads as readonly Dim[]
  return [{ dtype: x.dtype, shape: x.shape.map((dim, i) => addDims(dim, amounts[i], amounts[i + x.rank])) }]
})

/** x with zeros before and after along `axis`. */
export function pad(x: Operand, axis: number, before: Dim, after: Dim): Tensor {
  const graph = graphOf([x])
  const tensor = toTensor(graph, x)
  const at = normalizeAxis(axis, tensor.rank)
  const side = (amount: Dim) => tensor.shape.map((_, i) => (i === at ? canonicalDim(amount) : 0))
  return graph.add('Pad', [tensor], { pads: [...side(before), ...side(after)] })[0]
}
