/** @file Puts a model's weights where ONNX Runtime finds them: references into files, or bytes inside the model. */
import { parse, relative, sep } from 'node:path'
import type { LoweredModel, Weight } from '../../graph/index.ts'
import type { OnnxTensor } from '../../onnx/index.ts'
import type { Dtype, TensorSource } from '../../weights/index.ts'

/** A weight that knows where its bytes are: what the Node backend asks of every weight of a graph. */
export interface SourcedWeight extends Weight {
  readonly source: TensorSource
}

const ONNX_NAMES: Partial<Record<Dtype, OnnxTensor['dtype']>> = {
  F32: 'float32',
  F64: 'float64',
  F16: 'float16',
  BF16: 'bfloat16',
  I64: 'int64',
  I32: 'int32',
  I16: 'int16',
  I8: 'int8',
  U8: 'uint8',
  BOOL: 'bool',
}

/** Bytes that may be written into the model itself: protocol buffers end at 2 GB. */
const EMBEDDED_LIMIT = 1_900_000_000

/** The initializers of a model, and the folder that the references into files are relative to. */
export interface PlacedWeights {
  initializers: OnnxTensor[]
  folder: string | undefined
}

/**
 * Places the weights. Those in files are mapped by ONNX Runtime, which takes only paths below one folder: the root of
 * the file system serves for all. Throws when a weight has no values, another element type than the graph says, or when
 * the weights in memory are too many for one model.
 */
export function placeWeights(weights: LoweredModel['weights']): PlacedWeights {
  let embedded = 0
  let folder: string | undefined
  const initializers = weights.map(({ name, weight }): OnnxTensor => {
    const { source } = weight as SourcedWeight
    const dtype = ONNX_NAMES[source.dtype]
    if (dtype !== weight.dtype)
      throw new Error(`The weight "${name}" is ${source.dtype} where ${weight.dtype} is expected`)
    if (source.kind === 'memory') {
      embedded += source.bytes.byteLength
      if (embedded > EMBEDDED_LIMIT) {
        throw new Error(
          `The weights in memory take more than ${EMBEDDED_LIMIT / 1e9} GB, the most that one model can hold; save the model with savePretrained and load it from there, so that they are mapped from the file`,
        )
      }
      return { name, dtype, dims: source.shape, data: source.bytes }
    }
    const { root } = parse(source.path)
    folder ??= root
    if (folder !== root) throw new Error(`The weights lie on several drives (${folder} and ${root}); copy them to one`)
    const location = relative(root, source.path).split(sep).join('/')
    return { name, dtype, dims: source.shape, external: { location, offset: source.offset, length: source.byteLength } }
  })
  return { initializers, folder }
}
