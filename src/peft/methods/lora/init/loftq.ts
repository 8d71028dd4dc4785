/** @file LoftQ (arXiv 2310.08659): A and B make up for what a weight of few bits has lost. */
import { Parameter } from '../../../../nn/index.ts'
import { matrix, svd } from '../../../../util/linear-algebra/index.ts'
import type { LoftQConfig } from '../config.ts'
import { type InitContext, type InitialFactors, leadingColumns, leadingRows, requireRank } from './factors.ts'
import { throughInt8, throughNF4 } from './quantization.ts'

/**
 * Alternates between `Q = quantized(W - B A)` and the best A and B for `W - Q`. The weight's place takes Q. A and B are
 * divided by the root of the scale each, so that `Q + s B A` is near W for any scale; PEFT assumes a scale of 1.
 */
export function loftqFactors(options: LoftQConfig, context: InitContext): InitialFactors {
  requireRank(context, 'loftq')
  const { rank, inFeatures, outFeatures } = context
  let result: Promise<Fitted> | undefined
  const fitted = () => (result ??= fitWeight(options, context))
  return {
    a: Parameter.computed([rank, inFeatures], async () => (await fitted()).a),
    b: Parameter.computed([outFeatures, rank], async () => (await fitted()).b),
    replaced: Parameter.computed([outFeatures, inFeatures], async () => (await fitted()).quantized, {
      requiresGrad: false,
    }),
  }
}

interface Fitted {
  a: Float32Array
  b: Float32Array
  quantized: Float32Array
}

async function fitWeight({ loftqBits, loftqIter }: LoftQConfig, context: InitContext): Promise<Fitted> {
  const { rank, inFeatures, outFeatures, scaling } = context
  const weight = (await context.weight()).data
  const quantize = (data: Float32Array) => (loftqBits === 4 ? throughNF4(data) : throughInt8(data, inFeatures))
  let part = weight
  for (let i = 1; ; i++) {
    const quantized = quantize(part)
    const rest = weight.map((value, j) => value - quantized[j])
    const { u, s, vt } = svd(matrix(outFeatures, inFeatures, rest))
    const roots = Array.from(s.subarray(0, rank), value => Math.sqrt(value))
    const [a, b] = [leadingRows(vt, roots), leadingColumns(u, roots)]
    if (i === loftqIter) {
      const root = Math.sqrt(scaling)
      return { a: a.map(value => value / root), b: b.map(value => value / root), quantized }
    }
    part = minusProduct(weight, b, a, inFeatures)
  }
}

/** `weight - b a`. */
function minusProduct(weight: Float32Array, b: Float32Array, a: Float32Array, columns: number): Float32Array {
  const rank = a.length / columns
  const result = weight.slice()
  for (let i = 0; i < b.length; i++) {
    const row = Math.floor(i / rank)
    const k = i % rank
    for (let j = 0; j < columns; j++) result[row * columns + j] -= b[i] * a[k * columns + j]
  }
  return result
}
