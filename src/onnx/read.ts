/** @file Reads an ONNX model from bytes. */
import { fieldFloats, fieldInt, fieldInts, fieldText, type ProtoField, readFields } from './protobuf.ts'
import {
  ONNX_DTYPES,
  type OnnxAttribute,
  type OnnxDim,
  type OnnxDType,
  type OnnxGraph,
  type OnnxModel,
  type OnnxNode,
  type OnnxTensor,
  type OnnxValueInfo,
} from './types.ts'

const DTYPE_NAMES = new Map<number, OnnxDType>(
  Object.entries(ONNX_DTYPES).map(([name, number]) => [number, name as OnnxDType]),
)

/** Parses a `ModelProto`. Throws when the bytes are cut off, malformed, or hold no graph. */
export function decodeModel(bytes: Uint8Array): OnnxModel {
  let irVersion = 0
  let producer = ''
  let graph: OnnxGraph | undefined
  const opsets: [string, number][] = []
  const metadata: [string, string][] = []
  for (const field of readFields(bytes)) {
    if (field.field === 1) irVersion = fieldInt(field)
    else if (field.field === 2) producer = fieldText(field)
    else if (field.field === 7) graph = readGraph(field.bytes)
    else if (field.field === 8) {
      let domain = ''
      let version = 0
      for (const part of readFields(field.bytes)) {
        if (part.field === 1) domain = fieldText(part)
        else if (part.field === 2) version = fieldInt(part)
      }
      opsets.push([domain, version])
    } else if (field.field === 14) {
      metadata.push(readEntry(field.bytes))
    }
  }
  if (!graph) throw new Error('These bytes are not an ONNX model: they hold no graph.')
  return { irVersion, producer, opsets: Object.fromEntries(opsets), graph, metadata: Object.fromEntries(metadata) }
}

function readGraph(bytes: Uint8Array): OnnxGraph {
  let name = ''
  const nodes: OnnxNode[] = []
  const initializers: OnnxTensor[] = []
  const inputs: OnnxValueInfo[] = []
  const outputs: OnnxValueInfo[] = []
  const valueInfo: OnnxValueInfo[] = []
  for (const field of readFields(bytes)) {
    if (field.field === 1) nodes.push(readNode(field.bytes))
    else if (field.field === 2) name = fieldText(field)
    else if (field.field === 5) initializers.push(readTensor(field.bytes))
    else if (field.field === 11) inputs.push(readValueInfo(field.bytes))
    else if (field.field === 12) outputs.push(readValueInfo(field.bytes))
    else if (field.field === 13) valueInfo.push(readValueInfo(field.bytes))
  }
  return { name, nodes, initializers, inputs, outputs, valueInfo }
}

function readNode(bytes: Uint8Array): OnnxNode {
  const inputs: string[] = []
  const outputs: string[] = []
  const attributes: [string, OnnxAttribute][] = []
  let [op, name, domain] = ['', '', '']
  for (const field of readFields(bytes)) {
    if (field.field === 1) inputs.push(fieldText(field))
    else if (field.field === 2) outputs.push(fieldText(field))
    else if (field.field === 3) name = fieldText(field)
    else if (field.field === 4) op = fieldText(field)
    else if (field.field === 7) domain = fieldText(field)
    else if (field.field === 5) {
      attributes.push(readAttribute(field.bytes))
    }
  }
  return { op, name, domain, inputs, outputs, attributes: Object.fromEntries(attributes) }
}

function readAttribute(bytes: Uint8Array): [string, OnnxAttribute] {
  let name = ''
  let type = 0
  const fields: ProtoField[] = []
  for (const field of readFields(bytes)) {
    if (field.field === 1) name = fieldText(field)
    else if (field.field === 20) type = fieldInt(field)
    else fields.push(field)
  }
  const of = (number: number) => fields.filter(field => field.field === number)
  const first = (number: number): ProtoField =>
    of(number)[0] ?? { field: number, wire: 2, varint: 0n, bytes: new Uint8Array(4) }
  switch (type) {
    case 1:
      return [name, { float: fieldFloats(first(2))[0] }]
    case 2:
      return [name, { int: BigInt.asIntN(64, first(3).varint) }]
    case 3:
      return [name, { string: of(4).length ? fieldText(of(4)[0]) : '' }]
    case 4:
      return [name, { tensor: readTensor(first(5).bytes) }]
    case 5:
      return [name, { graph: readGraph(first(6).bytes) }]
    case 6:
      return [name, { floats: of(7).flatMap(fieldFloats) }]
    case 7:
      return [name, { ints: of(8).flatMap(fieldInts) }]
    case 8:
      return [name, { strings: of(9).map(fieldText) }]
    default:
      throw new Error(`ONNX: the attribute "${name}" has type ${type}, which is not supported`)
  }
}

function readTensor(bytes: Uint8Array): OnnxTensor {
  let name = ''
  let dtype: OnnxDType | undefined
  let data: Uint8Array | undefined
  let isExternal = false
  const dims: number[] = []
  // Not one list grown by push(...values): a large tensor has more values than a call takes arguments.
  const typed: number[][] = []
  const wide: bigint[][] = []
  const external: Record<string, string> = {}
  for (const field of readFields(bytes)) {
    if (field.field === 1) dims.push(...fieldInts(field).map(Number))
    else if (field.field === 2) dtype = readDType(fieldInt(field))
    else if (field.field === 4) typed.push(fieldFloats(field))
    else if (field.field === 5) typed.push(fieldInts(field).map(Number))
    else if (field.field === 7) wide.push(fieldInts(field))
    else if (field.field === 8) name = fieldText(field)
    else if (field.field === 9) data = field.bytes
    else if (field.field === 13) {
      const [key, value] = readEntry(field.bytes)
      external[key] = value
    } else if (field.field === 14) isExternal = field.varint === 1n
  }
  if (!dtype) throw new Error(`ONNX: the tensor "${name}" has no data type`)
  if (isExternal) {
    const { location } = external
    if (!location) throw new Error(`ONNX: the external tensor "${name}" names no file`)
    const place = (key: string, missing: number) => {
      const value = external[key] === undefined ? missing : Number(external[key])
      if (!Number.isSafeInteger(value) || value < 0) {
        throw new Error(`ONNX: the ${key} "${external[key]}" of the external tensor "${name}" is not a number of bytes`)
      }
      return value
    }
    const length = place('length', byteLength(dtype, dims))
    return { name, dtype, dims, external: { location, offset: place('offset', 0), length } }
  }
  return { name, dtype, dims, data: data ?? packTyped(name, dtype, typed.flat(), wide.flat()) }
}

const BITS: Readonly<Partial<Record<OnnxDType, number>>> = {
  ...{ float64: 64, int64: 64, uint64: 64, float32: 32, int32: 32, uint32: 32 },
  ...{ float16: 16, bfloat16: 16, int16: 16, uint16: 16, int8: 8, uint8: 8, bool: 8, int4: 4, uint4: 4 },
}

function byteLength(dtype: OnnxDType, dims: readonly number[]): number {
  return Math.ceil(((BITS[dtype] ?? 0) * dims.reduce((a, b) => a * b, 1)) / 8)
}

/** The raw bytes of values that stand in the typed fields (`float_data`, `int32_data`, `int64_data`). */
function packTyped(name: string, dtype: OnnxDType, typed: number[], wide: bigint[]): Uint8Array {
  const array = (() => {
    switch (dtype) {
      case 'float32':
        return new Float32Array(typed)
      case 'int64':
        return new BigInt64Array(wide)
      case 'int32':
        return new Int32Array(typed)
      case 'int16':
        return new Int16Array(typed)
      case 'uint16':
      case 'float16':
      case 'bfloat16':
        return new Uint16Array(typed)
      case 'int8':
        return new Int8Array(typed)
      case 'uint8':
      case 'bool':
        return new Uint8Array(typed)
      default:
        throw new Error(`ONNX: the tensor "${name}" stores ${dtype} in a field that is not supported; use raw data`)
    }
  })()
  return new Uint8Array(array.buffer)
}

function readValueInfo(bytes: Uint8Array): OnnxValueInfo {
  let name = ''
  let dtype: OnnxDType = 'float32'
  let dims: OnnxDim[] | undefined
  for (const field of readFields(bytes)) {
    if (field.field === 1) name = fieldText(field)
    if (field.field !== 2) continue
    for (const type of readFields(field.bytes)) {
      if (type.field !== 1) throw new Error(`ONNX: the value "${name}" is not a tensor; only tensors are supported`)
      for (const part of readFields(type.bytes)) {
        if (part.field === 1) dtype = readDType(fieldInt(part))
        else if (part.field === 2) dims = [...readFields(part.bytes)].map(readDim)
      }
    }
  }
  return { name, dtype, dims }
}

function readDim(field: ProtoField): OnnxDim {
  for (const part of readFields(field.bytes)) {
    if (part.field === 1) return fieldInt(part)
    if (part.field === 2) return fieldText(part)
  }
  return ''
}

function readEntry(bytes: Uint8Array): [string, string] {
  const entry: [string, string] = ['', '']
  for (const field of readFields(bytes)) {
    if (field.field === 1) entry[0] = fieldText(field)
    else if (field.field === 2) entry[1] = fieldText(field)
  }
  return entry
}

function readDType(number: number): OnnxDType {
  const name = DTYPE_NAMES.get(number)
  if (!name) throw new Error(`ONNX: the element type ${number} is not supported`)
  return name
}
