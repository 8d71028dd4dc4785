/** @file Element types of symbolic tensors. */
import type { OnnxDType } from '../onnx/index.ts'

/** The element type of a tensor in a graph. */
export type DType = Exclude<OnnxDType, 'string' | 'uint4' | 'int4'>

/** Bytes that one element takes. */
export const BYTES_PER_ELEMENT: Readonly<Record<DType, number>> = {
  float32: 4,
  float64: 8,
  float16: 2,
  bfloat16: 2,
  int64: 8,
  int32: 4,
  int16: 2,
  int8: 1,
  uint64: 8,
  uint32: 4,
  uint16: 2,
  uint8: 1,
  bool: 1,
}

/** Whether gradients can flow through values of this type. */
export function isFloat(dtype: DType): boolean {
  return dtype === 'float32' || dtype === 'float64' || dtype === 'float16' || dtype === 'bfloat16'
}
