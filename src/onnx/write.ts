/** @file Writes an ONNX model to bytes. */
import { ProtoWriter } from './protobuf.ts'
import {
  ONNX_DTYPES,
  type OnnxAttribute,
  type OnnxGraph,
  type OnnxModel,
  type OnnxNode,
  type OnnxTensor,
  type OnnxValueInfo,
} from './types.ts'

/** Serialises `model` as a `ModelProto`. The result must stay under 2 GB: put large weights into external data. */
export function encodeModel(model: OnnxModel): Uint8Array {
  const writer = new ProtoWriter()
  writer.int(1, model.irVersion)
  writer.string(2, model.producer)
  writer.message(7, w => writeGraph(w, model.graph))
  for (const [domain, version] of Object.entries(model.opsets)) {
    writer.message(8, w => {
      w.string(1, domain)
      w.int(2, version)
    })
  }
  for (const [key, value] of Object.entries(model.metadata ?? {})) writer.message(14, w => writeEntry(w, key, value))
  return writer.finish()
}

function writeGraph(writer: ProtoWriter, graph: OnnxGraph): void {
  for (const node of graph.nodes) writer.message(1, w => writeNode(w, node))
  writer.string(2, graph.name)
  for (const tensor of graph.initializers) writer.message(5, w => writeTensor(w, tensor))
  for (const info of graph.inputs) writer.message(11, w => writeValueInfo(w, info))
  for (const info of graph.outputs) writer.message(12, w => writeValueInfo(w, info))
  for (const info of graph.valueInfo ?? []) writer.message(13, w => writeValueInfo(w, info))
}

function writeNode(writer: ProtoWriter, node: OnnxNode): void {
  for (const input of node.inputs) writer.string(1, input)
  for (const output of node.outputs) writer.string(2, output)
  if (node.name) writer.string(3, node.name)
  writer.string(4, node.op)
  for (const [name, value] of Object.entries(node.attributes)) writer.message(5, w => writeAttribute(w, name, value))
  if (node.domain) writer.string(7, node.domain)
}

function writeAttribute(writer: ProtoWriter, name: string, value: OnnxAttribute): void {
  writer.string(1, name)
  const type = (number: number) => writer.int(20, number)
  if ('float' in value) {
    writer.float(2, value.float)
    type(1)
  } else if ('int' in value) {
    writer.int(3, value.int)
    type(2)
  } else if ('string' in value) {
    writer.string(4, value.string)
    type(3)
  } else if ('tensor' in value) {
    writer.message(5, w => writeTensor(w, value.tensor))
    type(4)
  } else if ('graph' in value) {
    writer.message(6, w => writeGraph(w, value.graph))
    type(5)
  } else if ('floats' in value) {
    for (const item of value.floats) writer.float(7, item)
    type(6)
  } else if ('ints' in value) {
    for (const item of value.ints) writer.int(8, item)
    type(7)
  } else {
    for (const item of value.strings) writer.string(9, item)
    type(8)
  }
}

function writeTensor(writer: ProtoWriter, tensor: OnnxTensor): void {
  writer.packedInts(1, tensor.dims)
  writer.int(2, ONNX_DTYPES[tensor.dtype])
  writer.string(8, tensor.name)
  if (tensor.external) {
    const { location, offset, length } = tensor.external
    writer.message(13, w => writeEntry(w, 'location', location))
    writer.message(13, w => writeEntry(w, 'offset', String(offset)))
    writer.message(13, w => writeEntry(w, 'length', String(length)))
    writer.int(14, 1)
  } else {
    writer.bytes(9, tensor.data ?? new Uint8Array(0))
  }
}

function writeEntry(writer: ProtoWriter, key: string, value: string): void {
  writer.string(1, key)
  writer.string(2, value)
}

function writeValueInfo(writer: ProtoWriter, info: OnnxValueInfo): void {
  writer.string(1, info.name)
  writer.message(2, type =>
    type.message(1, tensor => {
      tensor.int(1, ONNX_DTYPES[info.dtype])
      const { dims } = info
      if (!dims) return
      tensor.message(2, shape => {
        for (const dim of dims) {
          shape.message(1, w => (typeof dim === 'number' ? w.int(1, dim) : w.string(2, dim)))
        }
      })
    }),
  )
}
