/** @file Texts beside the texts that were expected: errors of words and characters, ROUGE-L, exact matches. */

/** How many elements have to be put in, left out or replaced to make one list of the other. */
export function editDistance(from: readonly string[], to: readonly string[]): number {
  let row = Uint32Array.from({ length: to.length + 1 }, (_, j) => j)
  for (let i = 0; i < from.length; i++) {
    const next = new Uint32Array(to.length + 1)
    next[0] = i + 1
    for (let j = 0; j < to.length; j++) {
      next[j + 1] = Math.min(row[j] + (from[i] === to[j] ? 0 : 1), row[j + 1] + 1, next[j] + 1)
    }
    row = next
  }
  return row[to.length]
}

const words = (text: string) => text.split(/\s+/).filter(word => word !== '')
const characters = (text: string) => [...words(text).join(' ')]

/**
 * The word error rate: the words that are wrong, missing or too many, by the words that were expected, over all texts
 * together. Capitals and punctuation count. Infinity where nothing was expected and something was said.
 *
 * @throws when there are not as many predictions as references
 */
export function wordErrorRate(predictions: readonly string[], references: readonly string[]): number {
  return errorRate(predictions, references, words)
}

/** The character error rate: as {@link wordErrorRate}, by characters; several blanks count as one. */
export function characterErrorRate(predictions: readonly string[], references: readonly string[]): number {
  return errorRate(predictions, references, characters)
}

function errorRate(
  predictions: readonly string[],
  references: readonly string[],
  split: (text: string) => string[],
): number {
  checkLengths(predictions, references)
  let [errors, total] = [0, 0]
  references.forEach((reference, i) => {
    const expected = split(reference)
    errors += editDistance(split(predictions[i]), expected)
    total += expected.length
  })
  return errors === 0 ? 0 : errors / total
}

/** The share of texts that are exactly as expected, blanks at both ends left aside. */
export function exactMatch(predictions: readonly string[], references: readonly string[]): number {
  checkLengths(predictions, references)
  return mean(references.map((reference, i) => (reference.trim() === predictions[i].trim() ? 1 : 0)))
}

/**
 * ROUGE-L: for each text the F1 of the longest common subsequence of words, then the mean. Words are runs of letters and
 * digits in lower case, not stemmed.
 */
export function rougeL(predictions: readonly string[], references: readonly string[]): number {
  checkLengths(predictions, references)
  const tokens = (text: string) => text.toLowerCase().match(/[\p{L}\p{M}\p{N}]+/gu) ?? []
  return mean(
    references.map((reference, i) => {
      const [got, expected] = [tokens(predictions[i]), tokens(reference)]
      const common = commonSubsequence(got, expected)
      return common === 0 ? 0 : (2 * common) / (got.length + expected.length)
    }),
  )
}

function commonSubsequence(a: readonly string[], b: readonly string[]): number {
  let row = new Uint32Array(b.length + 1)
  for (const token of a) {
    const next = new Uint32Array(b.length + 1)
    for (let j = 0; j < b.length; j++) next[j + 1] = token === b[j] ? row[j] + 1 : Math.max(row[j + 1], next[j])
    row = next
  }
  return row[b.length]
}

function mean(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0) / values.length
}

function checkLengths({ length: got }: readonly string[], { length: expected }: readonly string[]): void {
  if (got === expected && got > 0) return
  throw new Error(
    `Could not compare texts: got ${got} predictions and ${expected} references; expected as many, and some.`,
  )
}
