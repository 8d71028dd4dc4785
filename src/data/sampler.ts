/** @file Samplers: in which order, and in which batches, examples are seen. */
import { Random } from '../util/random.ts'

/** Options of {@link batches} and {@link lengthGroupedBatches}. */
export interface BatchOptions {
  /** Leave out the last batch when it is not full. Default false. */
  dropLast?: boolean
}

/**
 * The order of `n` examples in epoch `epoch`: a permutation of 0..n-1 that depends on `seed` and `epoch` alone, so a
 * resumed run sees the order the uninterrupted one would have seen.
 */
export function epochOrder(n: number, seed: number, epoch: number): number[] {
  return epochRandom(seed, epoch).shuffle(Array.from({ length: n }, (_, index) => index))
}

/** Cuts `order` into consecutive batches of `batchSize`; the last may be smaller unless `dropLast`. */
export function batches(order: readonly number[], batchSize: number, options: BatchOptions = {}): number[][] {
  checkBatchSize(batchSize)
  const result: number[][] = []
  for (let start = 0; start < order.length; start += batchSize) result.push(order.slice(start, start + batchSize))
  if (options.dropLast && result.length && result[result.length - 1].length < batchSize) result.pop()
  return result
}

/**
 * Batches of examples of similar length, which saves padding, with the randomness kept: the examples are shuffled, cut
 * into megabatches of up to 50 batches, and each megabatch is sorted by falling length, as Transformers' `group_by_length`
 * does. The longest example of all comes first, so that a batch too big for memory fails at once.
 */
export function lengthGroupedBatches(
  lengths: readonly number[],
  batchSize: number,
  seed: number,
  epoch: number,
  options: BatchOptions = {},
): number[][] {
  checkBatchSize(batchSize)
  const perMegabatch = Math.min(Math.floor(lengths.length / (batchSize * 4)), 50) || 1
  const megabatches = batches(epochOrder(lengths.length, seed, epoch), perMegabatch * batchSize)
  for (const megabatch of megabatches) megabatch.sort((a, b) => lengths[b] - lengths[a])
  let longest = 0
  megabatches.forEach((megabatch, i) => {
    if (lengths[megabatch[0]] > lengths[megabatches[longest][0]]) longest = i
  })
  if (longest > 0) {
    const [first, other] = [megabatches[0], megabatches[longest]]
    ;[first[0], other[0]] = [other[0], first[0]]
  }
  return batches(megabatches.flat(), batchSize, options)
}

function epochRandom(seed: number, epoch: number): Random {
  return new Random(seed).fork(`epoch ${epoch}`)
}

function checkBatchSize(batchSize: number): void {
  if (Number.isInteger(batchSize) && batchSize >= 1) return
  throw new Error(`Could not form batches of size ${batchSize}: expected a whole number from 1 on.`)
}
