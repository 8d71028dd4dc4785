/** @file Pooling: from the hidden states of tokens to one vector a text, as sentence-transformers does. */
import {
  cast,
  concat,
  cumulativeSum,
  div,
  equal,
  greater,
  matmul,
  max,
  maximum,
  mul,
  sqrt,
  squeeze,
  sum,
  type Tensor,
  unsqueeze,
  where,
} from '../graph/index.ts'
import { Module } from '../nn/index.ts'
import { didYouMean } from '../util/nearest.ts'

/** How hidden states become one vector. */
export type PoolingMode = (typeof POOLING_MODES)[number]

/** The values of {@link PoolingMode}, in the order in which the vectors of several stand one behind the other. */
export const POOLING_MODES = ['cls', 'max', 'mean', 'mean_sqrt_len_tokens', 'weightedmean', 'lasttoken'] as const

/** Options of {@link Pooling}. */
export interface PoolingOptions {
  /** The width of the hidden states. */
  embeddingDimension: number
  /** One mode, or several whose vectors stand one behind the other. Default `mean`. */
  poolingMode?: PoolingMode | readonly PoolingMode[]
  /** Whether the tokens of a prompt take part. Default true. */
  includePrompt?: boolean
}

/**
 * One vector for each text: of its first token (`cls`), its last (`lasttoken`), the largest value of each component
 * (`max`), the mean (`mean`), the sum divided by the root of its length (`mean_sqrt_len_tokens`), or the mean weighted by
 * the place, 1 for the first token (`weightedmean`). Padding takes no part, on whichever side it stands.
 */
export class Pooling extends Module {
  readonly embeddingDimension: number
  readonly poolingModes: readonly PoolingMode[]
  readonly includePrompt: boolean

  /** @throws for a mode that does not exist */
  constructor({ embeddingDimension, poolingMode = 'mean', includePrompt = true }: PoolingOptions) {
    super()
    this.embeddingDimension = embeddingDimension
    this.poolingModes = [poolingMode].flat() as PoolingMode[]
    this.includePrompt = includePrompt
    const wrong = this.poolingModes.find(mode => !POOLING_MODES.includes(mode))
    if (wrong !== undefined || this.poolingModes.length === 0) {
      throw new Error(
        `Pooling: there is no mode ${JSON.stringify(wrong ?? '')}.${didYouMean(wrong ?? '', POOLING_MODES)} There are ${POOLING_MODES.join(', ')}.`,
      )
    }
  }

  /** The width of the vectors. */
  get outputDimension(): number {
    return this.poolingModes.length * this.embeddingDimension
  }

  /**
   * @param tokens the hidden states, `[batch, sequence, width]`
   * @param mask int64 `[batch, sequence]`, 1 where a token stands, without gaps within a text
   * @param promptLength int64 `[1]`, how many tokens of each text are its prompt's
   * @returns `[batch, modes * width]`
   */
  override forward(tokens: Tensor, mask: Tensor, promptLength?: Tensor): Tensor {
    const present = cast(mask, 'float32')
    /** The place of each token in its text, counted from 1; padding does not matter. */
    const places = cumulativeSum(present, 1)
    const counted =
      promptLength && !this.includePrompt
        ? mul(present, cast(greater(places, cast(promptLength, 'float32')), 'float32'))
        : present
    const vectors = this.poolingModes.map(mode => {
      if (mode === 'max') {
        const isCounted = greater(unsqueeze(counted, [2]), 0)
        return max(where(isCounted, tokens, Number.NEGATIVE_INFINITY), [1])
      }
      return weightedSum(tokens, weightsOf(mode, counted, places))
    })
    return vectors.length === 1 ? vectors[0] : concat(vectors, 1)
  }
}

/** How much each token counts, `[batch, sequence]`. */
function weightsOf(mode: Exclude<PoolingMode, 'max'>, counted: Tensor, places: Tensor): Tensor {
  switch (mode) {
    case 'cls':
      return onlyOne(counted, cumulativeSum(counted, 1))
    case 'lasttoken':
      return onlyOne(counted, cumulativeSum(counted, 1, true))
    case 'weightedmean':
      return shares(mul(counted, places))
    case 'mean':
      return shares(counted)
    case 'mean_sqrt_len_tokens':
      return div(counted, sqrt(maximum(sum(counted, [1], true), 1e-9)))
  }
}

/** 1 for the counted token at which the count is 1, and 0 for all others. */
function onlyOne(counted: Tensor, count: Tensor): Tensor {
  return mul(counted, cast(equal(count, 1), 'float32'))
}

function shares(weights: Tensor): Tensor {
  return div(weights, maximum(sum(weights, [1], true), 1e-9))
}

function weightedSum(tokens: Tensor, weights: Tensor): Tensor {
  return squeeze(matmul(unsqueeze(weights, [1]), tokens), [1])
}
