/** @file Rotary position embeddings (arXiv 2104.09864) and the ways of stretching them to longer sequences. */
import {
  add,
  cast,
  concat,
  cos,
  div,
  type Graph,
  greater,
  max,
  mul,
  pow,
  rotary,
  sin,
  slice,
  sub,
  type Tensor,
  unsqueeze,
  where,
} from '../graph/index.ts'
import type { RopeParameters } from './config.ts'

/** Cosines and sines of the angles of each position, `[batch or 1, 1, sequence, width / 2]` each. */
export interface RotaryTable {
  cos: Tensor
  sin: Tensor
}

/** What the rotation of a family of heads is made of. */
export interface RopeOptions {
  parameters: RopeParameters
  /** The width of one head. */
  width: number
  /** The sequence length that the model was made for. */
  maxPositions: number
  /** Whether the architecture can turn a share of each head and leave the rest (`partial_rotary_factor`). */
  partial?: boolean
}

/** The angle per position of each pair of coordinates, and a factor on cosine and sine. */
export interface RopeFrequencies {
  /** `[width / 2]`, where width is that of the part which is turned */
  inverse: Float32Array
  attentionFactor: number
}

/** The width of the part of each head that is turned. Throws where the architecture turns whole heads only. */
function rotatedWidth({ parameters, width, partial }: RopeOptions): number {
  const share = parameters.partial_rotary_factor ?? 1
  if (share !== 1 && !partial) {
    throw new Error(`rope: partial_rotary_factor is ${share}; this architecture rotates whole heads, expected 1`)
  }
  return Math.trunc(width * share)
}

/**
 * The frequencies of every rotary type. Those of `dynamic` and `longrope` depend on the sequence: here those of short
 * ones. Throws for a type that is not computed.
 */
export function ropeFrequencies(options: RopeOptions): RopeFrequencies {
  const { parameters } = options
  const { rope_theta: theta, rope_type: type, factor = 1 } = parameters
  const width = rotatedWidth(options)
  const exponents = Float32Array.from({ length: width / 2 }, (_, i) => (2 * i) / width)
  const inverse = exponents.map(exponent => 1 / Math.fround(theta ** exponent))
  switch (type) {
    case 'default':
    case 'dynamic':
      return { inverse, attentionFactor: 1 }
    case 'linear':
      return { inverse: inverse.map(value => value / factor), attentionFactor: 1 }
    case 'llama3':
      return { inverse: stretchByWavelength(inverse, parameters), attentionFactor: 1 }
    case 'yarn':
      return { inverse: stretchByRotations(inverse, parameters, width), attentionFactor: yarnFactor(parameters) }
    case 'longrope':
      return { inverse: divideEach(inverse, parameters.short_factor!), attentionFactor: longRopeFactor(options) }
    default:
      throw new Error(
        `rope: the type "${type}" is not computed; expected default, linear, dynamic, llama3, yarn or longrope`,
      )
  }
}

/** LongRoPE (arXiv 2402.13753): a divisor for each pair of coordinates. */
function divideEach(inverse: Float32Array, divisors: readonly number[]): Float32Array {
  if (divisors.length !== inverse.length) {
    throw new Error(`rope: got ${divisors.length} factors, expected ${inverse.length}, one a pair of coordinates`)
  }
  return inverse.map((value, i) => value / divisors[i])
}

function longRopeFactor({ parameters, maxPositions }: RopeOptions): number {
  const length = parameters.original_max_position_embeddings!
  const factor = parameters.factor ?? maxPositions / length
  return parameters.attention_factor ?? (factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(length)))
}

/** Llama 3.1: long waves are stretched by the factor, short ones kept, those between interpolated. */
function stretchByWavelength(inverse: Float32Array, parameters: RopeParameters): Float32Array {
  const { factor, low_freq_factor: low, high_freq_factor: high } = parameters as Required<RopeParameters>
  const length = parameters.original_max_position_embeddings!
  return inverse.map(value => {
    const wavelength = (2 * Math.PI) / value
    if (wavelength < length / high) return value
    if (wavelength > length / low) return value / factor
    const smooth = (length / wavelength - low) / (high - low)
    return ((1 - smooth) * value) / factor + smooth * value
  })
}

/** YaRN (arXiv 2309.00071): coordinates that turn often within the original length are kept, the others stretched. */
function stretchByRotations(inverse: Float32Array, parameters: RopeParameters, width: number): Float32Array {
  const { factor = 1, beta_fast = 32, beta_slow = 1, truncate = true, rope_theta: theta } = parameters
  const length = parameters.original_max_position_embeddings!
  const coordinateOf = (rotations: number) =>
    (width * Math.log(length / (rotations * 2 * Math.PI))) / (2 * Math.log(theta))
  const first = Math.max(truncate ? Math.floor(coordinateOf(beta_fast)) : coordinateOf(beta_fast), 0)
  const last = Math.min(truncate ? Math.ceil(coordinateOf(beta_slow)) : coordinateOf(beta_slow), width - 1)
  const span = last === first ? 0.001 : last - first
  return inverse.map((value, i) => {
    const stretched = Math.min(Math.max((i - first) / span, 0), 1)
    return (value / factor) * stretched + value * (1 - stretched)
  })
}

function yarnFactor({ factor = 1, attention_factor, mscale, mscale_all_dim }: RopeParameters): number {
  const scale = (weight: number) => (factor <= 1 ? 1 : 0.1 * weight * Math.log(factor) + 1)
  if (attention_factor !== undefined && attention_factor !== null) return attention_factor
  return mscale && mscale_all_dim ? scale(mscale) / scale(mscale_all_dim) : scale(1)
}

/**
 * The table that {@link applyRotary} takes, made once a forward pass.
 *
 * @param positions int64 `[batch or 1, sequence]`
 */
export function rotaryTable(positions: Tensor, options: RopeOptions): RotaryTable {
  const { graph } = positions
  const { inverse, attentionFactor } = ropeFrequencies(options)
  const fixed = graph.constant([...inverse], 'float32')
  const frequencies = frequenciesBeyond(graph, positions, fixed, options)
  const angles = mul(unsqueeze(cast(positions, 'float32'), [1, 3]), frequencies)
  const scaled = (x: Tensor) => (attentionFactor === 1 ? x : mul(x, attentionFactor))
  return { cos: scaled(cos(angles)), sin: scaled(sin(angles)) }
}

/** The frequencies, which the length of the sequence may decide. */
function frequenciesBeyond(graph: Graph, positions: Tensor, fixed: Tensor, options: RopeOptions): Tensor {
  const { rope_type: type } = options.parameters
  if (type === 'dynamic') return dynamicFrequencies(graph, positions, fixed, options)
  return type === 'longrope' ? longFrequencies(graph, positions, fixed, options) : fixed
}

/** LongRoPE beyond the length of pretraining. */
function longFrequencies(graph: Graph, positions: Tensor, fixed: Tensor, options: RopeOptions): Tensor {
  const { parameters } = options
  const plain = ropeFrequencies({ ...options, parameters: { ...parameters, rope_type: 'default' } })
  const long = graph.constant([...divideEach(plain.inverse, parameters.long_factor!)], 'float32')
  const length = add(cast(max(positions), 'float32'), 1)
  return where(greater(length, parameters.original_max_position_embeddings!), long, fixed)
}

/** Beyond `maxPositions` the base grows with the length of the sequence ("NTK-aware" scaling). */
function dynamicFrequencies(graph: Graph, positions: Tensor, fixed: Tensor, options: RopeOptions): Tensor {
  const { parameters, maxPositions } = options
  const { rope_theta: theta, factor = 1 } = parameters
  const width = rotatedWidth(options)
  const length = add(cast(max(positions), 'float32'), 1)
  const growth = sub(mul(div(length, maxPositions), factor), factor - 1)
  const base = mul(pow(growth, width / (width - 2)), theta)
  const exponents = Array.from({ length: width / 2 }, (_, i) => (-2 * i) / width)
  const stretched = pow(base, graph.constant(exponents, 'float32'))
  return where(greater(length, maxPositions), stretched, fixed)
}

/**
 * Turns each pair of coordinates `(i, i + width / 2)` by its position's angle; where the table is for narrower heads,
 * the first coordinates are turned and the others left.
 *
 * @param x `[batch, heads, sequence, width]`
 */
export function applyRotary(x: Tensor, table: RotaryTable): Tensor {
  const width = x.shape[3] as number
  const rotated = 2 * (table.cos.shape[3] as number)
  if (rotated === width) return rotary(x, table.cos, table.sin)
  return concat([rotary(slice(x, 3, 0, rotated), table.cos, table.sin), slice(x, 3, rotated)], 3)
}
