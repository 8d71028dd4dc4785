/** @file Tensors with values, as they go into an engine and come out of it. */
import { type DType, formatShape } from '../graph/index.ts'

/** The arrays that hold the values of each element type; booleans are bytes 0 and 1, half floats their raw bits. */
export type TensorArray =
  | Float32Array
  | Float64Array
  | Uint16Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array

/** A tensor with values, row major. */
export interface TensorData<A extends TensorArray = TensorArray> {
  dtype: DType
  dims: readonly number[]
  data: A
  /**
   * Says that `data` is never written again: an engine may keep a copy, and take the same array as that copy when it
   * comes again for the same input.
   */
  isConstant?: boolean
}

const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  bfloat16: Uint16Array,
  int64: BigInt64Array,
  int32: Int32Array,
  int16: Int16Array,
  int8: Int8Array,
  uint64: BigUint64Array,
  uint32: Uint32Array,
  uint16: Uint16Array,
  uint8: Uint8Array,
  bool: Uint8Array,
} as const

/** Nested arrays of numbers, or a number. */
export type NestedNumbers = number | bigint | boolean | readonly NestedNumbers[]

/**
 * A tensor with values.
 *
 * @example
 * tensorData('int64', [[1, 2, 3], [4, 5, 6]])
 * tensorData('float32', new Float32Array(6), [2, 3])
 */
export function tensorData(dtype: DType, values: NestedNumbers | TensorArray, dims?: readonly number[]): TensorData {
  const Array_ = ARRAYS[dtype]
  if (ArrayBuffer.isView(values)) {
    if (!(values instanceof Array_))
      throw new Error(`A ${dtype} tensor takes a ${Array_.name}, got a ${values.constructor.name}`)
    return checkSize({ dtype, dims: dims ?? [values.length], data: values as TensorArray })
  }
  const shape: number[] = []
  for (let level: NestedNumbers = values as NestedNumbers; Array.isArray(level); level = level[0])
    shape.push(level.length)
  const flat = (Array.isArray(values) ? values.flat(Number.POSITIVE_INFINITY) : [values]) as (
    | number
    | bigint
    | boolean
  )[]
  const isWide = dtype === 'int64' || dtype === 'uint64'
  const data = isWide
    ? (Array_ as BigInt64ArrayConstructor).from(flat.map(value => BigInt(value)))
    : (Array_ as Float32ArrayConstructor).from(flat.map(Number))
  return checkSize({ dtype, dims: dims ?? shape, data })
}

function checkSize(tensor: TensorData): TensorData {
  const size = tensor.dims.reduce((a, b) => a * b, 1)
  if (size !== tensor.data.length) {
    throw new Error(`A tensor of shape ${formatShape(tensor.dims)} takes ${size} values, got ${tensor.data.length}`)
  }
  return tensor
}

/** The float32 values of a tensor. Throws for another element type. */
export function floats(tensor: TensorData): Float32Array {
  if (!(tensor.data instanceof Float32Array)) throw new Error(`Expected a float32 tensor, got ${tensor.dtype}`)
  return tensor.data
}
