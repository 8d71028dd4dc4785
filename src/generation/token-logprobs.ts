/** @file How likely tokens were to the model, for those who ask. */
import type { TokenLogprob } from '../models/generator.ts'
import { logSumExp } from './logits.ts'
import { largestAt } from './select.ts'

/**
 * The log-probability of a token by the model's own logits, which no option has changed, and those of the `top` most
 * likely tokens.
 */
export function tokenLogprob(logits: Float32Array, token: number, top: number): TokenLogprob {
  const total = logSumExp(logits)
  const logprob = logits[token] - total
  if (top === 0) return { token, logprob }
  const topLogprobs = largestAt(logits, top).map(id => ({ token: id, logprob: logits[id] - total }))
  return { token, logprob, topLogprobs }
}
