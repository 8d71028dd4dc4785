/** @file Choosing a token by its logits: the most likely one, or one drawn among the likely. */
import type { Random } from '../util/random.ts'

/** How tokens are drawn. */
export interface SamplingOptions {
  temperature: number
  /** 0 for all tokens. */
  topK: number
  topP: number
}

/** The first of the tokens with the largest logit. Throws where the model gives no numbers. */
export function mostLikely(logits: Float32Array): number {
  let best = -1
  let largest = Number.NEGATIVE_INFINITY
  for (let token = 0; token < logits.length; token++) {
    if (!(logits[token] > largest)) continue
    largest = logits[token]
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
 * Draws a token. Temperature, top-k and top-p (arXiv 1904.09751) apply in this order, as in Transformers: ties with the
 * k-th logit stay, and the most likely token always does.
 */
export function sample(logits: Float32Array, { temperature, topK, topP }: SamplingOptions, random: Random): number {
  const largest = logits[mostLikely(logits)]
  const lowest = topK > 0 && topK < logits.length ? nthLargest(logits, topK) : Number.NEGATIVE_INFINITY
  let tokens: number[] = []
  for (let token = 0; token < logits.length; token++) {
    if (logits[token] >= lowest && logits[token] > Number.NEGATIVE_INFINITY) tokens.push(token)
  }
  const weightOf = (token: number) => Math.exp((logits[token] - largest) / temperature)
  if (topP < 1) tokens = nucleus(tokens, logits, weightOf, topP)
  const weights = tokens.map(weightOf)
  let left = random.uniform() * weights.reduce((a, b) => a + b, 0)
  for (const [i, weight] of weights.entries()) {
    left -= weight
    if (left < 0) return tokens[i]
  }
  // Rounding can leave a remainder after the last.
  return tokens[weights.findLastIndex(weight => weight > 0)]
}

/** The fewest most likely tokens whose weights make up more than `share` of the total. */
function nucleus(tokens: number[], logits: Float32Array, weightOf: (token: number) => number, share: number): number[] {
  const descending = tokens.sort((a, b) => logits[b] - logits[a] || a - b)
  const weights = descending.map(weightOf)
  const removable = (1 - share) * weights.reduce((a, b) => a + b, 0)
  let count = descending.length
  let removed = 0
  while (count > 1 && removed + weights[count - 1] <= removable) removed += weights[--count]
  return descending.slice(0, count)
}

/** The n-th largest value, kept at the root of a heap of the n largest. */
function nthLargest(values: Float32Array, n: number): number {
  const heap = values.slice(0, n).sort()
  for (let i = n; i < values.length; i++) {
    const value = values[i]
    if (!(value > heap[0])) continue
    let at = 0
    while (true) {
      let child = 2 * at + 1
      if (child + 1 < n && heap[child + 1] < heap[child]) child++
      if (child >= n || heap[child] >= value) break
      heap[at] = heap[child]
      at = child
    }
    heap[at] = value
  }
  return heap[0]
}
