/** @file The outputs of a dense layer as blocks, of which an adapter may change some: queries, keys and values in one. */
import { concat, type Dim, type Graph, slice, type Tensor } from '../../../graph/index.ts'

/** Which blocks of a layer's outputs an adapter changes. */
export interface Blocks {
  /** How many blocks the outputs consist of. */
  readonly count: number
  /** The width of each. */
  readonly width: number
  /** The numbers of those that are changed, in order. */
  readonly chosen: readonly number[]
}

/** What fills the blocks that are not changed. */
type Fill = (graph: Graph, shape: readonly Dim[]) => Tensor

/** The part of `x` for each of the chosen blocks, all of the same length along `axis`. */
export function partsFor({ chosen }: Blocks, x: Tensor, axis: number): Tensor[] {
  const length = (x.shape[axis < 0 ? axis + x.rank : axis] as number) / chosen.length
  return chosen.map((_, i) => slice(x, axis, i * length, (i + 1) * length))
}

/** The outputs along `axis` that have `parts` in the chosen blocks and what `fill` gives in the others. */
export function spread({ count, width, chosen }: Blocks, parts: readonly Tensor[], axis: number, fill: Fill): Tensor {
  const [first] = parts
  const at = axis < 0 ? axis + first.rank : axis
  const other = first.shape.map((dim, i) => (i === at ? width : dim))
  return concat(
    Array.from({ length: count }, (_, block) => parts[chosen.indexOf(block)] ?? fill(first.graph, other)),
    at,
  )
}
