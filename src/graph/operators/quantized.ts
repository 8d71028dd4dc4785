/** @file Quantised matrices as operands. */
import { defineOperator, type Graph, type Tensor, type Weight } from '../graph.ts'

/** What the bytes of a quantised matrix mean; see `QuantizedLayout` in the layer `quantization`. */
export interface QuantizedMatrix {
  scheme: 'int8' | 'int4' | 'nf4' | 'fp4' | 'bfloat16' | 'float16'
  rows: number
  columns: number
  blockSize: number
  symmetric: boolean
  transposed: boolean
  /**
   * Whether the parts end with the values as signed bytes, `[columns, rows]` and `[rows, columns]`, and a scale a row, for
   * products in 8-bit arithmetic.
   */
  turned?: boolean
}

defineOperator('Dequantize', (_, { layout }) => {
  const { rows, columns, transposed } = layout as QuantizedMatrix
  return [{ dtype: 'float32', shape: transposed ? [columns, rows] : [rows, columns] }]
})

/**
 * The values of a quantised matrix, `[rows, columns]` or transposed. What reads them decides how they are computed:
 * products take the packed form where a kernel does, look-ups dequantise only their rows, and everything else gets a
 * copy of its own, which lives no longer than its reader runs.
 *
 * @param parts packed values, scales, and where there are any zero points, or signed values both ways and their scales
 * @param codebook the 16 values that codes stand for, in schemes that have a table
 */
export function dequantize(
  graph: Graph,
  layout: QuantizedMatrix,
  parts: readonly Weight[],
  codebook: readonly number[] = [],
): Tensor {
  const { scheme, rows, columns, blockSize, symmetric, transposed, turned = false } = layout
  const attributes = { layout: { scheme, rows, columns, blockSize, symmetric, transposed, turned }, codebook }
  return graph.add(
    'Dequantize',
    parts.map(part => graph.weight(part)),
    attributes,
  )[0]
}
