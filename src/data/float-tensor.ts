/** @file Floating-point numbers as plain data. */

/** Floating-point numbers in plain data, row by row. */
export interface FloatTensor {
  dtype: 'float32'
  dims: number[]
  data: Float32Array
}
