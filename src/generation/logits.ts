/** @file Changes of a row of scores (logits, or log-probabilities of beams) before a token is chosen, each in place. */

/**
 * Makes tokens that occurred less likely: positive scores are divided by `penalty`, negative ones multiplied (CTRL,
 * arXiv 1909.05858).
 */
export function penalizeRepetition(scores: Float32Array, seen: Iterable<number>, penalty: number): void {
  for (const token of seen) {
    if (token < scores.length) scores[token] = scores[token] < 0 ? scores[token] * penalty : scores[token] / penalty
  }
}

/**
 * Takes from each token that was generated `presence` once, and `frequency` for each time that it was: the penalties of
 * OpenAI's interface.
 *
 * @param counts how often each token was generated
 */
export function penalizeGenerated(
  scores: Float32Array,
  counts: ReadonlyMap<number, number>,
  { presence, frequency }: { presence: number; frequency: number },
): void {
  for (const [token, count] of counts) scores[token] -= presence + frequency * count
}

/** Makes tokens impossible. */
export function forbid(scores: Float32Array, tokens: Iterable<number>): void {
  for (const token of tokens) if (token < scores.length) scores[token] = Number.NEGATIVE_INFINITY
}

/** Makes all tokens but one impossible. */
export function force(scores: Float32Array, token: number): void {
  scores.fill(Number.NEGATIVE_INFINITY)
  scores[token] = 0
}

/** Makes impossible what would complete a second n-gram of `size` tokens that `source` holds already. */
export function forbidNgrams(
  scores: Float32Array,
  source: readonly number[],
  tokens: readonly number[],
  size: number,
): void {
  const known = size - 1
  const from = tokens.length - known
  if (from < 0) return
  for (let start = 0; start + known < source.length; start++) {
    let same = 0
    while (same < known && source[start + same] === tokens[from + same]) same++
    if (same === known && source[start + known] < scores.length) {
      scores[source[start + known]] = Number.NEGATIVE_INFINITY
    }
  }
}

/** A sequence of tokens and what is added to the score of its last where the others precede. */
export type SequenceBias = readonly (readonly [tokens: readonly number[], bias: number])[]

/** Adds to the last token of each sequence whose other tokens have just come. */
export function addSequenceBias(scores: Float32Array, tokens: readonly number[], biases: SequenceBias): void {
  for (const [sequence, bias] of biases) {
    const known = sequence.length - 1
    const from = tokens.length - known
    if (from < 0) continue
    let same = 0
    while (same < known && tokens[from + same] === sequence[same]) same++
    if (same === known) scores[sequence[known]] += bias
  }
}

/** Makes the end likelier by the share `factor ** beyond - 1` of its score's size. */
export function raiseEnd(scores: Float32Array, ends: readonly number[], factor: number, beyond: number): void {
  for (const token of ends) {
    const score = scores[token]
    if (Number.isFinite(score)) scores[token] = score + Math.abs(score) * (factor ** beyond - 1)
  }
}

/** The logarithm of the sum of the exponentials: what has to be taken from scores to make them log-probabilities. */
export function logSumExp(scores: Float32Array): number {
  let largest = Number.NEGATIVE_INFINITY
  for (let token = 0; token < scores.length; token++) if (scores[token] > largest) largest = scores[token]
  if (!Number.isFinite(largest)) return largest
  let sum = 0
  for (let token = 0; token < scores.length; token++) {
    const below = scores[token] - largest
    // Less than what a sum of at least 1 can show, even from a large vocabulary.
    if (below > -60) sum += Math.exp(below)
  }
  return largest + Math.log(sum)
}
