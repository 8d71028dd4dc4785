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
 * into megabatches of up to 50 batches, and each megabatch is sorted by length, as Transformers' `group_by_length` does;
 * then the batches are shuffled, so that lengths do not fall from step to step. The batch with the longest example comes
 * first, so that one too big for memory fails at once; one that is not full comes last.
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
  const all = batches(megabatches.flat(), batchSize)
  const rest = all.length && all[all.length - 1].length < batchSize ? [all.pop()!] : []
  epochRandom(seed, epoch).fork('batches').shuffle(all)
  const longest = all.reduce((best, batch, i) => (lengths[batch[0]] > lengths[all[best][0]] ? i : best), 0)
  if (longest > 0) [all[0], all[longest]] = [all[longest], all[0]]
  const [[first], [last]] = [all, rest]
  if (first && last && lengths[last[0]] > lengths[first[0]]) [first[0], last[0]] = [last[0], first[0]]
  return options.dropLast ? all : [...all, ...rest]
}

function epochRandom(seed: number, epoch: number): Random {
  return new Random(seed).fork(`epoch ${epoch}`)
}

function checkBatchSize(batchSize: number): void {
  if (Number.isInteger(batchSize) && batchSize >= 1) return
  throw new Error(`Could not form batches of size ${batchSize}: expected a whole number from 1 on.`)
}
