/** @file Batches whose rows have adapters of their own: names of adapters as the numbers that a model takes. */
import { gather, type Tensor } from '../graph/index.ts'
import type { TensorData } from '../runtime/index.ts'
import { didYouMean } from '../util/nearest.ts'
import type { AdapterRows } from './tuner-layer.ts'

/** Stands for the base model where rows name their adapters. */
export const BASE_ROW = '__base__'

/** Which adapters a batch uses, and which of them computes each row. */
export interface RowChoice {
  /** int64 `[batch]`: 0 is the base model, i the adapter `names[i - 1]`. */
  indices: TensorData
  names: readonly string[]
}

/**
 * The input `adapter_indices` for rows that name their adapters.
 *
 * @param known the adapters that the numbers count
 * @throws for a name that is none of them
 */
export function rowIndices(rows: readonly string[], known: readonly string[]): TensorData {
  const numbers = new Map<string, number>([[BASE_ROW, 0], ...known.map((name, i) => [name, i + 1] as const)])
  const indices = rows.map((name, row) => {
    const number = numbers.get(name)
    if (number !== undefined) return BigInt(number)
    throw new Error(
      `adapterNames: row ${row} names "${name}", and there is no such adapter.${didYouMean(name, [...numbers.keys()])} Loaded: ${known.join(', ') || 'none'}; "${BASE_ROW}" is the base model.`,
    )
  })
  return { dtype: 'int64', dims: [indices.length], data: BigInt64Array.from(indices) }
}

/** The adapters that rows name, each once, and the numbers of the rows among them. */
export function chooseForRows(rows: readonly string[], known: readonly string[]): RowChoice {
  rowIndices(rows, known)
  const names = [...new Set(rows)].filter(name => name !== BASE_ROW)
  return { names, indices: rowIndices(rows, names) }
}

/** The rows of a traced batch; a number that stands for no adapter ends the run with an error. */
export function tracedRows(index: Tensor, names: readonly string[]): AdapterRows {
  // The engine refuses to look up what is not in the table.
  const table = index.graph.constant(
    Array.from({ length: names.length + 1 }, (_, i) => i),
    'int64',
  )
  return { index: gather(table, index), names }
}
