/** @file The part of the ONNX model format that this library reads and writes, as plain objects. */

/** Element types by their ONNX names in lower case, with the numbers of `TensorProto.DataType`. */
export const ONNX_DTYPES = {
  float32: 1,
  uint8: 2,
  int8: 3,
  uint16: 4,
  int16: 5,
  int32: 6,
  int64: 7,
  string: 8,
  bool: 9,
  float16: 10,
  float64: 11,
  uint32: 12,
  uint64: 13,
  bfloat16: 16,
  uint4: 21,
  int4: 22,
} as const

/** An element type of an ONNX tensor. */
export type OnnxDType = keyof typeof ONNX_DTYPES

/** A dimension: a number, or the name of a symbolic one. */
export type OnnxDim = number | string

/** Where the bytes of an external tensor lie. */
export interface ExternalData {
  location: string
  offset: number
  length: number
}

/** A constant tensor: either `data` (little endian, row major) or `external`. */
export interface OnnxTensor {
  name: string
  dtype: OnnxDType
  dims: readonly number[]
  data?: Uint8Array
  external?: ExternalData
}

/** The value of a node's attribute; `{ float }` and `{ floats }` tell floating point from integers. */
export type OnnxAttribute =
  | { int: number | bigint }
  | { ints: readonly (number | bigint)[] }
  | { float: number }
  | { floats: readonly number[] }
  | { string: string }
  | { strings: readonly string[] }
  | { tensor: OnnxTensor }
  | { graph: OnnxGraph }

/** One operator call. An empty string among `inputs` or `outputs` is an optional value left out. */
export interface OnnxNode {
  op: string
  domain: string
  name: string
  inputs: readonly string[]
  outputs: readonly string[]
  attributes: Readonly<Record<string, OnnxAttribute>>
}

/** A graph's input, output or annotated value. `dims` is undefined when the rank is unknown. */
export interface OnnxValueInfo {
  name: string
  dtype: OnnxDType
  dims?: readonly OnnxDim[]
}

/** A graph of nodes. */
export interface OnnxGraph {
  name: string
  nodes: readonly OnnxNode[]
  initializers: readonly OnnxTensor[]
  inputs: readonly OnnxValueInfo[]
  outputs: readonly OnnxValueInfo[]
  valueInfo?: readonly OnnxValueInfo[]
}

/** A model: a graph and the operator sets it is written against (`''` is ONNX's own domain). */
export interface OnnxModel {
  irVersion: number
  producer: string
  opsets: Readonly<Record<string, number>>
  graph: OnnxGraph
  metadata?: Readonly<Record<string, string>>
}
