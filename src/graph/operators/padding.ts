/** @file Padding of an axis with zeros or with values of the tensor itself. */
import { type Dim, formatShape, subtractDims } from '../dim.ts'
import { graphOf, type Operand, type Tensor, toTensor } from '../graph.ts'
import { gather } from './indexing.ts'
import { concat, expand, normalizeAxis, pad, slice } from './shape.ts'

/** What stands beside a padded axis: zeros, its mirror image, its outermost elements, or its other end. */
export type PaddingMode = 'zeros' | 'reflect' | 'replicate' | 'circular'

/** The names of the modes. */
export const PADDING_MODES: readonly PaddingMode[] = ['zeros', 'reflect', 'replicate', 'circular']

/**
 * x with `before` and `after` elements added along `axis`, as PyTorch's `pad` does in this mode.
 *
 * @throws when the axis is too short: a mirror image needs more elements than the padding has, the other end as many
 */
export function padAxis(x: Operand, axis: number, before: number, after: number, mode: PaddingMode): Tensor {
  const tensor = toTensor(graphOf([x]), x)
  const at = normalizeAxis(axis, tensor.rank)
  if (before === 0 && after === 0) return tensor
  if (mode === 'zeros') return pad(tensor, at, before, after)
  const length = tensor.shape[at]
  const needed = mode === 'replicate' ? 1 : Math.max(before, after) + (mode === 'reflect' ? 1 : 0)
  if (typeof length === 'number' && length < needed) {
    throw new Error(
      `padAxis: padding by ${before} and ${after} in mode "${mode}" needs at least ${needed} elements, axis ${at} of ${formatShape(tensor.shape)} has ${length}`,
    )
  }
  const fromEnd = (count: number) => subtractDims(length, count)
  const part = (start: Dim, end: Dim) => slice(tensor, at, start, end)
  const repeat = (one: Tensor, count: number) =>
    expand(
      one,
      one.shape.map((dim, i) => (i === at ? count : dim)),
    )
  const sides: Record<Exclude<PaddingMode, 'zeros'>, [front: () => Tensor, back: () => Tensor]> = {
    reflect: [() => reversed(part(1, before + 1), at), () => reversed(part(fromEnd(after + 1), fromEnd(1)), at)],
    replicate: [() => repeat(part(0, 1), before), () => repeat(part(fromEnd(1), length), after)],
    circular: [() => part(fromEnd(before), length), () => part(0, after)],
  }
  const [front, back] = sides[mode]
  return concat([...(before ? [front()] : []), tensor, ...(after ? [back()] : [])], at)
}

function reversed(x: Tensor, axis: number): Tensor {
  const count = x.shape[axis] as number
  const order = Array.from({ length: count }, (_, i) => count - 1 - i)
  return gather(x, x.graph.constant(order, 'int64'), axis)
}
