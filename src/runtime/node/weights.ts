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

/** Bytes that an element takes in a view of a weight. */
const BYTES: Partial<Record<OnnxTensor['dtype'], number>> = {
  ...{ float32: 4, bfloat16: 2, float16: 2, uint16: 2 },
  ...{ uint8: 1, int8: 1, uint4: 0.5 },
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
  const initializers = weights.map(({ name, weight, view }): OnnxTensor => {
    const { source } = weight as SourcedWeight
    const own = ONNX_NAMES[source.dtype]
    if (own !== weight.dtype)
      throw new Error(`The weight "${name}" is ${source.dtype} where ${weight.dtype} is expected`)
    const { dtype, dims, offset } = view ?? { dtype: own, dims: source.shape, offset: 0 }
    const whole = source.kind === 'file' ? source.byteLength : source.bytes.byteLength
    const length = view ? Math.ceil(dims.reduce((a, b) => a * b, BYTES[dtype] ?? Number.NaN)) : whole
    if (!(offset + length <= whole))
      throw new Error(`The weight "${name}" has ${whole} bytes, ${offset + length} are expected`)
    if (source.kind === 'memory') {
      const data = source.bytes.subarray(offset, offset + length)
      embedded += data.byteLength
      if (embedded > EMBEDDED_LIMIT) {
        throw new Error(
          `The weights in memory take more than ${EMBEDDED_LIMIT / 1e9} GB, the most that one model can hold; save the model with savePretrained and load it from there, so that they are mapped from the file`,
        )
      }
      return { name, dtype, dims, data }
    }
    const { root } = parse(source.path)
    folder ??= root
    if (folder !== root) throw new Error(`The weights lie on several drives (${folder} and ${root}); copy them to one`)
    const location = relative(root, source.path).split(sep).join('/')
    return { name, dtype, dims, external: { location, offset: source.offset + offset, length } }
  })
  return { initializers, folder }
}
