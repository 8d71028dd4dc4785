/** @file DoRA (arXiv 2402.09353): a weight's rows get lengths that are learnt, whatever LoRA makes of their directions. */
import {
  add,
  concat,
  div,
  matmul,
  maximum,
  mul,
  type Operand,
  sqrt,
  stopGradient,
  sum,
  type Tensor,
  toTensor,
} from '../../../graph/index.ts'
import { Module, Parameter } from '../../../nn/index.ts'

/** The learned lengths of one adapter, under PEFT's name. */
export class DoraMagnitude extends Module {
  /** `[out]`; of convolutions `[1, out, 1...]`, as files hold it. */
  weight: Parameter

  constructor(weight: Parameter) {
    super()
    this.weight = weight
  }

  forward(): never {
    throw new Error('A DoraMagnitude only holds lengths; call the layer that it belongs to')
  }
}

/** An update of a weight, `scale b a`. */
export interface LowRank {
  /** `[r, in]` */
  a: Operand
  /** `[out, r]` */
  b: Operand
  scale: Operand
}

/** A weight with updates, as {@link rescale} reads it. */
export interface UpdatedWeight {
  /** The weight as `[out, in]`, or as `[in, out]` where `isTransposed`. */
  matrix: Operand
  isTransposed: boolean
  weight: Parameter
  /** The squared lengths of its rows, `[out]`, as long as the weight is a constant. */
  lengths: Parameter
  updates: readonly LowRank[]
}

/** Below this squared length a row counts as zero. */
const TINY = 1e-30

/**
 * `m / |W + s B A|`, row by row, where no gradient flows through the length (section 4.3 of the paper).
 *
 * `|w + u|² = |w|² + 2 w u + |u|²` is used, so that a matrix of the weight's size is never formed: with U = B A,
 * `w u = (W Aᵀ) b` and `|u|² = b (A Aᵀ) b`.
 *
 * @param magnitude `[out]`
 * @returns `[out]`
 */
export function rescale(magnitude: Tensor, updated: UpdatedWeight): Tensor {
  const { graph } = magnitude
  const { matrix, isTransposed, updates } = updated
  const a = stopGradient(
    joined(
      updates.map(update => toTensor(graph, update.a)),
      0,
    ),
  )
  const b = stopGradient(
    joined(
      updates.map(update => mul(update.b, update.scale)),
      1,
    ),
  )
  const seen = isTransposed ? matmul(matrix, a, { transA: true, transB: true }) : matmul(matrix, a, { transB: true })
  const own = matmul(b, matmul(a, a, { transB: true }))
  const change = sum(mul(b, add(mul(stopGradient(seen), 2), own)), [1])
  const length = sqrt(maximum(add(baseLengths(graph, updated), change), TINY))
  return div(magnitude, stopGradient(length))
}

const joined = (parts: readonly Tensor[], axis: number) => (parts.length === 1 ? parts[0] : concat(parts, axis))

/** The squared lengths of the weight's rows: known for a constant, computed where another method changes the weight. */
function baseLengths(graph: Tensor['graph'], { matrix, isTransposed, weight, lengths }: UpdatedWeight): Tensor {
  const traced = toTensor(graph, weight)
  if (traced.node.op === 'Weight') return toTensor(graph, lengths)
  return stopGradient(sum(mul(matrix, matrix), [isTransposed ? 0 : 1]))
}

/** A weight's values and the axis that counts its outputs. */
export interface WeightValues {
  data: Float32Array
  shape: readonly number[]
  axis: number
}

/** For each output the sum over all elements that belong to it. */
function sumOverOutputs({ data, shape, axis }: WeightValues, term: (value: number, index: number) => number) {
  const inner = shape.slice(axis + 1).reduce((a, b) => a * b, 1)
  const outputs = shape[axis]
  const sums = new Float64Array(outputs)
  for (let i = 0; i < data.length; i++) sums[Math.floor(i / inner) % outputs] += term(data[i], i)
  return sums
}

/** The squared lengths of a weight's rows, `[out]`, worked out when they are first needed. */
export function lengthsOf(weight: Parameter, axis: number): Parameter {
  const compute = async () => {
    const values = { data: await weight.read(), shape: weight.shape, axis }
    return Float32Array.from(sumOverOutputs(values, value => value * value))
  }
  return Parameter.computed([weight.shape[axis]], compute, { requiresGrad: false })
}

/** The lengths of the rows of a weight with an update `scaling b a`. */
export function initialMagnitude(
  weight: WeightValues,
  update?: { a: Float32Array; b: Float32Array; scaling: number },
): Float32Array {
  const squares = update?.b.some(value => value !== 0)
    ? sumOverOutputs({ ...weight, data: withUpdate(weight, update) }, value => value * value)
    : sumOverOutputs(weight, value => value * value)
  return Float32Array.from(squares, Math.sqrt)
}

/** The weight plus the update, whose flattened inputs are in the order of the weight's other axes. */
function withUpdate(
  { data, shape, axis }: WeightValues,
  { a, b, scaling }: { a: Float32Array; b: Float32Array; scaling: number },
): Float32Array {
  const result = data.slice()
  const outputs = shape[axis]
  const rank = b.length / outputs
  const inputs = a.length / rank
  for (let row = 0; row < outputs; row++) {
    for (let column = 0; column < inputs; column++) {
      let change = 0
      for (let k = 0; k < rank; k++) change += b[row * rank + k] * a[k * inputs + column]
      result[axis === 0 ? row * inputs + column : column * outputs + row] += scaling * change
    }
  }
  return result
}
