/** @file Metrics of question answering: which span of a text its scores choose, and how well that fits the answer. */

/** The longest answer that is looked for, in tokens; Transformers' default. */
const LONGEST_ANSWER = 30

/**
 * The span with the highest sum of scores, of at most 30 tokens.
 *
 * @param scores `tokens * 2`: how well an answer starts and ends at each token
 * @param context the first token that an answer can lie at and the one behind the last; by default all
 * @returns the first and the last token; with a context `[0, 0]`, no answer, where that is scored higher
 */
export function bestSpan(scores: ArrayLike<number>, context?: readonly [number, number]): [number, number] {
  const [from, behind] = context ?? [0, scores.length / 2]
  let best: [number, number] = [0, 0]
  // What stands before the context is the place of no answer.
  let highest = context && from > 0 ? scores[0] + scores[1] : Number.NEGATIVE_INFINITY
  for (let start = from; start < behind; start++) {
    for (let end = start; end < Math.min(behind, start + LONGEST_ANSWER); end++) {
      const score = scores[2 * start] + scores[2 * end + 1]
      if (score > highest) {
        highest = score
        best = [start, end]
      }
    }
  }
  return best
}

/**
 * `exact_match`, the share of answers that are found with both ends, and `f1`, the mean overlap of the found and the
 * actual tokens (`2 common / (found + actual)`), both between 0 and 1.
 *
 * @param logits the scores of each text, `tokens * 2`
 * @param labels the first and last token of each answer
 * @param contexts where answers can lie; see {@link bestSpan}
 */
export function answerMetrics(
  logits: readonly ArrayLike<number>[],
  labels: readonly (readonly number[])[],
  contexts: readonly (readonly [number, number] | undefined)[],
): Record<'exact_match' | 'f1', number> {
  let [exact, overlap] = [0, 0]
  labels.forEach(([first, last], i) => {
    const [start, end] = bestSpan(logits[i], contexts[i])
    if (start === first && end === last) exact++
    const common = Math.max(0, Math.min(end, last) - Math.max(start, first) + 1)
    overlap += (2 * common) / (end - start + 1 + (last - first + 1))
  })
  return { exact_match: exact / labels.length, f1: overlap / labels.length }
}
