/** @file Where the rows of each example stand in a batch, and how they are taken out and put back. */
import { type Feature, IGNORE_INDEX, packRows } from '../../data/index.ts'
import type { Shape } from '../../graph/index.ts'
import type { InputSpecs } from '../../models/function.ts'
import type { Batch } from '../collate.ts'

/** A stretch of an axis. */
export interface Span {
  start: number
  length: number
}

/** Where an example stands in a batch: its row, and its stretch of each axis whose length varies. */
export interface Place {
  row: number
  spans: Readonly<Record<string, Span>>
}

/** The input that tells how long each row of an axis is, by the axis's name. */
function tellers(batch: Batch, specs: InputSpecs): [dim: string, input: string][] {
  const found = new Map<string, string>()
  for (const name of ['attention_mask', 'labels']) {
    const dim = specs[name]?.shape[1]
    if (typeof dim !== 'string' || !(batch[name]?.data instanceof BigInt64Array) || specs[name].shape.length !== 2)
      continue
    if (!found.has(dim)) found.set(dim, name)
  }
  return [...found]
}

/** The names of the axes whose own lengths a batch tells for each example. */
export function knownAxes(batch: Batch, specs: InputSpecs): string[] {
  return tellers(batch, specs).map(([dim]) => dim)
}

/** The places of examples that have a row each: of texts what attention sees, of targets what counts. */
export function placesInRows(batch: Batch, specs: InputSpecs, count: number): Place[] {
  const axes = tellers(batch, specs)
  return Array.from({ length: count }, (_, row) => ({
    row,
    spans: Object.fromEntries(axes.map(([dim, input]) => [dim, spanOf(batch, input, row)])),
  }))
}

function spanOf(batch: Batch, input: string, row: number): Span {
  const { data, dims } = batch[input]
  const values = (data as BigInt64Array).subarray(row * dims[1], (row + 1) * dims[1])
  const nothing = input === 'labels' ? BigInt(IGNORE_INDEX) : 0n
  const counts = (value: bigint) => value !== nothing
  const last = values.findLastIndex(counts)
  // The first targets of a text may not count and still be read.
  const start = input === 'labels' ? 0 : Math.max(0, values.findIndex(counts))
  return { start, length: last + 1 - (last < 0 ? 0 : start) }
}

/** The places of texts that share rows, as `packBatch` lays them. */
export function placesInPackedRows(texts: readonly Feature[], dim: string): Place[] {
  const places: Place[] = new Array(texts.length)
  const lengths = texts.map(({ inputIds }) => inputIds.length)
  for (const [row, own] of packRows(lengths).entries()) {
    let start = 0
    for (const i of own) {
      places[i] = { row, spans: { [dim]: { start, length: lengths[i] } } }
      start += lengths[i]
    }
  }
  return places
}

/** The shape of one example's values of a tensor `[batch, …]`. */
export function ownShape(shape: Shape, { spans }: Place): number[] {
  return shape.slice(1).map(dim => (typeof dim === 'number' ? dim : spans[dim].length))
}

/** The number of values that an example has of a tensor `[batch, …]`. */
export function ownSize(shape: Shape, place: Place): number {
  return ownShape(shape, place).reduce((a, b) => a * b, 1)
}

/** Takes an example's values out of a batch's. */
export function take(whole: Float32Array, dims: readonly number[], shape: Shape, place: Place): Float32Array {
  const own = new Float32Array(ownSize(shape, place))
  eachBlock(dims, shape, place, (at, from, length) => own.set(whole.subarray(from, from + length), at))
  return own
}

/** Puts an example's values into a batch's. */
export function put(own: Float32Array, whole: Float32Array, dims: readonly number[], shape: Shape, place: Place): void {
  eachBlock(dims, shape, place, (at, to, length) => whole.set(own.subarray(at, at + length), to))
}

/** Calls `copy` for each stretch that an example's values and the batch's have in common: where it begins in either. */
function eachBlock(
  dims: readonly number[],
  shape: Shape,
  place: Place,
  copy: (own: number, whole: number, length: number) => void,
): void {
  const lengths = ownShape(shape, place)
  const starts = shape.slice(1).map(dim => (typeof dim === 'number' ? 0 : place.spans[dim].start))
  const strides = dims.map((_, axis) => dims.slice(axis + 1).reduce((a, b) => a * b, 1))
  const isWhole = (from: number) => lengths.slice(from).every((length, i) => length === dims[from + i + 1])
  let own = 0
  const walk = (axis: number, base: number) => {
    if (axis === lengths.length || isWhole(axis + 1)) {
      const length = axis === lengths.length ? 1 : lengths[axis] * strides[axis + 1]
      copy(own, base + (axis === lengths.length ? 0 : starts[axis] * strides[axis + 1]), length)
      own += length
      return
    }
    for (let i = 0; i < lengths[axis]; i++) walk(axis + 1, base + (starts[axis] + i) * strides[axis + 1])
  }
  walk(0, place.row * strides[0])
}
