/** @file Choosing a token by its scores: the most likely one, or one drawn among the likely. */
import type { Random } from '../util/random.ts'
import { Candidates } from './candidates.ts'
import { nthLargest } from './select.ts'

/** How tokens are drawn. */
export interface SamplingOptions {
  temperature: number
  /** 0 for all tokens. */
  topK: number
  topP: number
  /** 0 for all tokens, as the cutoffs. */
  minP?: number
  /** 1 for all tokens. */
  typicalP?: number
  epsilonCutoff?: number
  etaCutoff?: number
}

/** Where the candidates of one choice are gathered: choices do not overlap. */
const gathered = new Candidates()

/** The first of the tokens with the largest score. Throws where the model gives no numbers. */
export function mostLikely(scores: Float32Array): number {
  let best = -1
  let largest = Number.NEGATIVE_INFINITY
  for (let token = 0; token < scores.length; token++) {
    if (!(scores[token] > largest)) continue
    largest = scores[token]
    best = token
  }
  if (best < 0 || largest === Number.POSITIVE_INFINITY) {
    throw new Error(
      'generate: the model gives no finite logits (NaN or infinity); its weights are damaged, or training has diverged',
    )
  }
  return best
}

/**
 * The tokens among which one is drawn, with the temperature in their scores. Everything applies in Transformers' order:
 * temperature, top-k, top-p, min-p, typical, epsilon and eta; ties with the k-th score stay.
 *
 * @param least how many tokens always stay
 * @param shift taken from every score before the temperature applies, which changes no probability
 * @returns what the next call overwrites
 */
export function narrow(scores: Float32Array, options: SamplingOptions, least = 1, shift = 0): Candidates {
  const { temperature, topK, topP, minP = 0, typicalP = 1, epsilonCutoff = 0, etaCutoff = 0 } = options
  const k = Math.max(topK, least)
  // The temperature does not change which are the k largest.
  gathered.take(scores, topK > 0 && k < scores.length ? nthLargest(scores, k) : undefined)
  gathered.temper(temperature, shift)
  if (topP < 1) gathered.topP(topP, least)
  if (minP > 0) gathered.minP(minP, least)
  if (typicalP < 1) gathered.typicalP(typicalP, least)
  if (epsilonCutoff > 0) gathered.epsilonCutoff(epsilonCutoff, least)
  if (etaCutoff > 0) gathered.etaCutoff(etaCutoff, least)
  return gathered
}

/** Draws a token. */
export function sample(scores: Float32Array, options: SamplingOptions, random: Random): number {
  const candidates = narrow(scores, options, 1, scores[mostLikely(scores)])
  const { tokens, weights, count } = candidates
  let left = random.uniform() * candidates.weigh()
  let last = 0
  for (let i = 0; i < count; i++) {
    left -= weights[i]
    if (left < 0) return tokens[i]
    if (weights[i] > 0) last = i
  }
  // Rounding can leave a remainder after the last.
  return tokens[last]
}
