/** @file Operators that pick or place elements by index, and index ranges. */
import { canonicalDim, type Dim, formatShape, type Shape } from '../dim.ts'
import type { DType } from '../dtype.ts'
import { defineOperator, type Graph, graphOf, type Operand, type Tensor, toTensor } from '../graph.ts'
import { normalizeAxis } from './shape.ts'

const requireIndices = (indices: Tensor) => {
  if (indices.dtype !== 'int64' && indices.dtype !== 'int32')
    throw new Error(`indices must be int64, not ${indices.dtype}`)
}

defineOperator('Gather', ([data, indices], { axis }) => {
  requireIndices(indices)
  const at = axis as number
  return [{ dtype: data.dtype, shape: [...data.shape.slice(0, at), ...indices.shape, ...data.shape.slice(at + 1)] }]
})

/** Slices of `data` along `axis`, one for each index; an embedding look-up for axis 0. */
export function gather(data: Operand, indices: Tensor, axis = 0): Tensor {
  const tensor = toTensor(graphOf([data, indices]), data)
  return tensor.graph.add('Gather', [tensor, indices], { axis: normalizeAxis(axis, tensor.rank) })[0]
}

/**
 * Rows of a table, one for each index. The row `padding` gets no gradient from here, as in PyTorch's embeddings.
 *
 * @param table `[rows, width]`
 * @param indices int64 `[...]`
 * @returns `[..., width]`
 */
export function embeddingLookup(table: Operand, indices: Tensor, padding?: number): Tensor {
  if (padding === undefined) return gather(table, indices, 0)
  const tensor = toTensor(graphOf([table, indices]), table)
  return tensor.graph.add('Gather', [tensor, indices], { axis: 0, padding })[0]
}

/** The slice of x at position `index` (negative: from the end) of `axis`, which disappears. */
export function select(x: Operand, axis: number, index: number): Tensor {
  const tensor = toTensor(graphOf([x]), x)
  return gather(tensor, tensor.graph.constant(index, 'int64'), axis)
}

defineOperator('GatherElements', ([data, indices]) => {
  requireIndices(indices)
  if (indices.rank !== data.rank) throw new Error('data and indices need the same number of axes')
  return [{ dtype: data.dtype, shape: indices.shape }]
})

/** For each index the element of `data` at that position of `axis`, the other coordinates being the same. */
export function gatherElements(data: Operand, indices: Tensor, axis: number): Tensor {
  const tensor = toTensor(graphOf([data, indices]), data)
  return tensor.graph.add('GatherElements', [tensor, indices], { axis: normalizeAxis(axis, tensor.rank) })[0]
}

defineOperator('ScatterElements', ([data, indices, updates]) => {
  requireIndices(indices)
  if (indices.rank !== data.rank) throw new Error('data and indices need the same number of axes')
  if (formatShape(indices.shape) !== formatShape(updates.shape))
    throw new Error('there must be one update for each index')
  if (updates.dtype !== data.dtype) throw new Error('the updates have another element type than the data')
  return [{ dtype: data.dtype, shape: data.shape }]
})

/** `data` with `updates` added at the positions that `indices` name along `axis`. */
export function scatterAddElements(data: Operand, indices: Tensor, updates: Tensor, axis: number): Tensor {
  const tensor = toTensor(graphOf([data, indices]), data)
  return tensor.graph.add('ScatterElements', [tensor, indices, updates], {
    axis: normalizeAxis(axis, tensor.rank),
    reduction: 'add',
  })[0]
}

/** `data` with `updates` in the place of what stands at the positions that `indices` name along `axis`, each once. */
export function scatterElements(data: Operand, indices: Tensor, updates: Operand, axis: number): Tensor {
  const graph = graphOf([indices])
  const tensor = toTensor(graph, data)
  return graph.add('ScatterElements', [tensor, indices, toTensor(graph, updates)], {
    axis: normalizeAxis(axis, tensor.rank),
    reduction: 'none',
  })[0]
}

defineOperator('ScatterRows', ([indices, updates], { rows }) => {
  requireIndices(indices)
  if (formatShape(updates.shape.slice(0, indices.rank)) !== formatShape(indices.shape)) {
    throw new Error('there must be one update for each index')
  }
  return [{ dtype: updates.dtype, shape: [rows as Dim, ...updates.shape.slice(indices.rank)] }]
})

/**
 * A tensor of `rows` rows, zero but for the sum of the `updates` that belong to each row: the gradient of a look-up.
 *
 * @param indices `[...]`, the row of each update
 * @param updates `[..., width...]`
 */
export function scatterAddRows(indices: Tensor, updates: Tensor, rows: Dim): Tensor {
  return updates.graph.add('ScatterRows', [indices, updates], { rows: canonicalDim(rows) })[0]
}

defineOperator('Range', (_, { length }) => [{ dtype: 'int64', shape: [length as Dim] }])

/** The integers 0, 1, … `length` - 1. */
export function range(graph: Graph, length: Dim): Tensor {
  return graph.add('Range', [], { length: canonicalDim(length) })[0]
}

defineOperator('DimValue', () => [{ dtype: 'int64', shape: [] }])

/** The value of a dimension as an int64 scalar. */
export function dimValue(graph: Graph, dim: Dim): Tensor {
  if (typeof dim === 'number') return graph.constant(dim, 'int64')
  return graph.add('DimValue', [], { dim: canonicalDim(dim) })[0]
}

/** A tensor of zeros. */
export function zeros(graph: Graph, shape: Shape, dtype: DType = 'float32'): Tensor {
  return graph.add('Expand', [graph.constant(0, dtype)], { shape: shape.map(canonicalDim) })[0]
}

defineOperator('ArgMax', ([x], { axis }) => [{ dtype: 'int64', shape: x.shape.filter((_, i) => i !== axis) }])

/** The position of the largest element along `axis` (the first of equals), which disappears. */
export function argMax(x: Operand, axis: number): Tensor {
  const tensor = toTensor(graphOf([x]), x)
  return tensor.graph.add('ArgMax', [tensor], { axis: normalizeAxis(axis, tensor.rank) })[0]
}
