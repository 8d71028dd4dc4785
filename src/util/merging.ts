/**
 * @file Merging of task tensors, the differences that several fine-tunings made to one weight: task arithmetic
 * (arXiv 2212.04089), TIES (arXiv 2306.01708) and DARE (arXiv 2311.03099), in float32 as PEFT computes them.
 */
import type { Random } from './random.ts'

const f = Math.fround

/** How the sign of a merged element is elected: by the sum of the values, or by the number of values of each sign. */
export type MajoritySignMethod = 'total' | 'frequency'

/**
 * The weighted sum of the tensors.
 *
 * @throws when there are no tensors, their lengths differ, or there is not one weight for each
 */
export function taskArithmetic(tensors: readonly Float32Array[], weights: readonly number[]): Float32Array {
  requireTasks(tensors, weights)
  return sumOf(weighted(tensors, weights))
}

/**
 * {@link taskArithmetic} of tensors of which only the largest elements are kept.
 *
 * @param density the fraction of elements to keep, from 0; all from 1 upwards
 */
export function magnitudePrune(
  tensors: readonly Float32Array[],
  weights: readonly number[],
  density: number,
): Float32Array {
  requireTasks(tensors, weights)
  return sumOf(
    weighted(
      tensors.map(tensor => keepLargest(tensor, density)),
      weights,
    ),
  )
}

/**
 * TIES: keeps the largest elements of each tensor, elects a sign for each position (before the weights apply), and
 * takes the mean of the weighted elements that have it.
 *
 * @param density the fraction of elements to keep, from 0; all from 1 upwards
 */
export function ties(
  tensors: readonly Float32Array[],
  weights: readonly number[],
  density: number,
  majoritySignMethod: MajoritySignMethod = 'total',
): Float32Array {
  requireTasks(tensors, weights)
  const kept = tensors.map(tensor => keepLargest(tensor, density))
  return disjointMerge(weighted(kept, weights), majoritySignMask(kept, majoritySignMethod))
}

/**
 * DARE with {@link taskArithmetic}: drops elements at random and scales the others so that the mean stays.
 *
 * @param density the probability of keeping an element, above 0; all are kept from 1 upwards
 */
export function dareLinear(
  tensors: readonly Float32Array[],
  weights: readonly number[],
  density: number,
  random: Random,
): Float32Array {
  requireTasks(tensors, weights)
  return sumOf(
    weighted(
      tensors.map(tensor => dropAndRescale(tensor, density, random)),
      weights,
    ),
  )
}

/**
 * DARE with the election and merge of {@link ties}.
 *
 * @param density the probability of keeping an element, above 0; all are kept from 1 upwards
 */
export function dareTies(
  tensors: readonly Float32Array[],
  weights: readonly number[],
  density: number,
  random: Random,
  majoritySignMethod: MajoritySignMethod = 'total',
): Float32Array {
  requireTasks(tensors, weights)
  const kept = tensors.map(tensor => dropAndRescale(tensor, density, random))
  return disjointMerge(weighted(kept, weights), majoritySignMask(kept, majoritySignMethod))
}

/**
 * The tensor with all but its `floor(density * length)` elements of largest magnitude set to 0; of equal ones the
 * first are kept.
 *
 * @throws when the density is negative
 */
export function keepLargest(tensor: Float32Array, density: number): Float32Array {
  if (!(density >= 0)) throw new Error(`The density must be 0 or more, got ${density}`)
  if (density >= 1) return tensor
  const count = Math.floor(density * tensor.length)
  const result = new Float32Array(tensor.length)
  if (count === 0) return result
  // The bits of a magnitude, read as an integer, are ordered as the magnitudes are.
  const magnitudes = new Uint32Array(tensor.buffer, tensor.byteOffset, tensor.length).map(bits => bits & 0x7fffffff)
  const threshold = magnitudes.slice().sort()[tensor.length - count]
  let equalOnes = count - magnitudes.reduce((above, magnitude) => above + (magnitude > threshold ? 1 : 0), 0)
  for (let i = 0; i < tensor.length; i++) {
    if (magnitudes[i] > threshold || (magnitudes[i] === threshold && equalOnes-- > 0)) result[i] = tensor[i]
  }
  return result
}

/**
 * The tensor with each element kept with probability `density` and divided by it, and the others set to 0.
 *
 * @throws when the density is not above 0
 */
export function dropAndRescale(tensor: Float32Array, density: number, random: Random): Float32Array {
  if (!(density > 0)) throw new Error(`The density must be above 0, got ${density}: kept elements are divided by it`)
  if (density >= 1) return tensor
  return tensor.map(value => (random.uniform() < density ? value / density : 0))
}

function requireTasks(tensors: readonly Float32Array[], weights: readonly number[]): void {
  if (tensors.length === 0) throw new Error('There is nothing to merge: no task tensors were given')
  if (weights.length !== tensors.length) {
    throw new Error(`Merging takes one weight for each task tensor: got ${weights.length} for ${tensors.length}`)
  }
  const lengths = tensors.map(tensor => tensor.length)
  if (new Set(lengths).size > 1) throw new Error(`Task tensors must be equally long, got lengths ${lengths.join(', ')}`)
}

function weighted(tensors: readonly Float32Array[], weights: readonly number[]): Float32Array[] {
  return tensors.map((tensor, task) => {
    const weight = f(weights[task])
    return tensor.map(value => value * weight)
  })
}

function sumOf(tensors: readonly Float32Array[]): Float32Array {
  const total = new Float32Array(tensors[0].length)
  for (const tensor of tensors) for (let i = 0; i < total.length; i++) total[i] += tensor[i]
  return total
}

/** For each tensor which of its elements have the sign elected at their position; zeros never do. */
function majoritySignMask(tensors: readonly Float32Array[], method: MajoritySignMethod): Uint8Array[] {
  if (method !== 'total' && method !== 'frequency') {
    throw new Error(`The majority sign method must be "total" or "frequency", got "${method}"`)
  }
  const votes = sumOf(method === 'total' ? tensors : tensors.map(tensor => tensor.map(Math.sign)))
  return tensors.map(tensor => Uint8Array.from(tensor, (value, i) => (votes[i] >= 0 ? +(value > 0) : +(value < 0))))
}

/** At each position the mean over the tensors whose mask is set there; 0 where none is. */
function disjointMerge(tensors: readonly Float32Array[], masks: readonly Uint8Array[]): Float32Array {
  const total = sumOf(tensors.map((tensor, task) => tensor.map((value, i) => value * masks[task][i])))
  return total.map((value, i) => {
    const count = masks.reduce((sum, mask) => sum + mask[i], 0)
    return value / Math.max(count, 1)
  })
}
