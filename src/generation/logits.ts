/** @file Changes of a row of logits before a token is chosen, as Transformers' logits processors make them. */

/**
 * Makes tokens that occurred less likely: positive logits are divided by `penalty`, negative ones multiplied (CTRL,
 * arXiv 1909.05858).
 */
export function penalizeRepetition(logits: Float32Array, seen: Iterable<number>, penalty: number): void {
  for (const token of seen) logits[token] = logits[token] < 0 ? logits[token] * penalty : logits[token] / penalty
}

/** Makes tokens impossible. */
export function forbid(logits: Float32Array, tokens: Iterable<number>): void {
  for (const token of tokens) if (token < logits.length) logits[token] = Number.NEGATIVE_INFINITY
}
