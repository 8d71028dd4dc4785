/** @file Statistics of repeated measurements. */

/** The median; of an even number the mean of the middle two. @param {readonly number[]} values at least one */
export function median(values) {
  if (values.length === 0) throw new Error('The median of no values was asked for')
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/**
 * How `above` relates to `below`: the ratio of their medians, and the range of the ratios of those that ran one after
 * the other.
 *
 * @param {readonly number[]} above
 * @param {readonly number[]} below
 */
export function compare(above, below) {
  const pairs = above.slice(0, below.length).map((value, i) => value / below[i])
  return { ratio: median(above) / median(below), lowest: Math.min(...pairs), highest: Math.max(...pairs) }
}
