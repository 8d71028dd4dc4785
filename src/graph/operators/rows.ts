/** @file Rows in parts: what has too many rows is computed part by part, and only for the rows that count. */
import { type Dim, evaluateDim, formatShape } from '../dim.ts'
import { defineOperator, type Node, type Tensor } from '../graph.ts'

/** How rows are cut: into at most `parts`, each of at least `least` rows but for the last that has any. */
export interface RowParts {
  parts: number
  least: number
}

/** How many rows part `part` of `rows` has. */
export function rowsOfPart(rows: number, part: number, { parts, least }: RowParts): number {
  const each = Math.max(least, Math.ceil(rows / parts))
  return Math.max(0, Math.min(each, rows - part * each))
}

/** A polynomial as a name. */
const asName = (dim: Dim) => `${dim}`.replaceAll('+', '.plus.').replaceAll('*', '.by.').replaceAll('-', 'minus')

/** The name of the length of a part. */
const partName = (rows: Dim, part: number, { parts, least }: RowParts) =>
  `part${part}.${parts}.${least}.${asName(rows)}`

defineOperator('RowPart', ([x], attributes) => {
  if (x.rank === 0) throw new Error('a scalar has no rows')
  const cut = attributes as unknown as RowParts & { part: number }
  const [rows, ...rest] = x.shape
  const length = typeof rows === 'number' ? rowsOfPart(rows, cut.part, cut) : partName(rows, cut.part, cut)
  return [{ dtype: x.dtype, shape: [length, ...rest] }]
})

/**
 * Part `part` of the rows of x. Where the number of rows is symbolic, so is that of the part, under a name that all
 * parts of as many rows share.
 */
export function rowPart(x: Tensor, part: number, cut: RowParts): Tensor {
  return x.graph.add('RowPart', [x], { part, parts: cut.parts, least: cut.least })[0]
}

/** A length that a model works out while it runs: that of a part of the rows, or of those rows that count. */
export interface DerivedLength {
  name: string
  /** Its value, or the most that it can be, from the lengths that are known. */
  length(lengths: Readonly<Record<string, number>>): number
}

/** The length that a node brings into being; undefined for most. */
export function derivedLength({ op, inputs, outputs, attributes }: Node): DerivedLength | undefined {
  const name = outputs[0]?.shape[0]
  if (typeof name !== 'string') return undefined
  const [rows] = inputs[0]?.shape ?? []
  if (op === 'CountedRows') return { name, length: lengths => evaluateDim(rows, lengths) }
  if (op !== 'RowPart') return undefined
  const cut = attributes as unknown as RowParts & { part: number }
  return { name, length: lengths => rowsOfPart(evaluateDim(rows, lengths), cut.part, cut) }
}

defineOperator('JoinRows', (parts, { rows }) => {
  const [first] = parts
  for (const part of parts) {
    if (formatShape(part.shape.slice(1)) !== formatShape(first.shape.slice(1)) || part.dtype !== first.dtype)
      throw new Error('the parts have rows of different kinds')
  }
  return [{ dtype: first.dtype, shape: [rows as Dim, ...first.shape.slice(1)] }]
})

/** The parts that {@link rowPart} made of `rows` rows, one after another again. */
export function joinRows(parts: readonly Tensor[], rows: Dim): Tensor {
  return parts[0].graph.add('JoinRows', parts, { rows })[0]
}

defineOperator('CountedRows', ([labels], { name }) => {
  if (labels.rank !== 1 || labels.dtype !== 'int64') throw new Error('expected int64 labels [rows]')
  return [{ dtype: 'int64', shape: [name as string] }]
})

/** The positions of the labels that are not `ignoreIndex`; how many there are is known when the model runs. */
export function countedRows(labels: Tensor, ignoreIndex: number): Tensor {
  return labels.graph.add('CountedRows', [labels], { ignoreIndex, name: `counted${labels.node.id}` })[0]
}

defineOperator('After', ([x]) => [x])

/** x, but not before all of `others` are there: the order of execution is what memory depends on. */
export function after(x: Tensor, others: readonly Tensor[]): Tensor {
  return others.length === 0 ? x : x.graph.add('After', [x, ...others])[0]
}

defineOperator('WithGradient', (inputs, { count }) => {
  const [value, ...rest] = inputs
  const given = count as number
  for (let i = 0; i < given; i++) {
    if (formatShape(rest[i].shape) !== formatShape(rest[i + given]?.shape ?? [-1]))
      throw new Error(`the gradient ${rest[i + given]} does not belong to ${rest[i]}`)
  }
  return [value]
})

/** The scalar `value`, whose gradients by the tensors of `pairs` are those that stand beside them. */
export function withGradient(value: Tensor, pairs: readonly (readonly [of: Tensor, gradient: Tensor])[]): Tensor {
  const inputs = [value, ...pairs.map(([of]) => of), ...pairs.map(([, gradient]) => gradient)]
  return value.graph.add('WithGradient', inputs, { count: pairs.length })[0]
}
