/** @file The empirical Fisher information: how much each entry of some parameters matters to the loss. */
import type { Parameter } from '../../nn/index.ts'
import type { PreparationTools } from '../method.ts'

/** How {@link empiricalFisher} looks at the data. */
export interface FisherOptions {
  /** Whether the gradient of each example is squared (as the Fisher information is defined), or that of each batch. */
  perExample: boolean
  /** How many examples are looked at, at most; all by default. */
  limit?: number
  /** The norm to which each gradient, of all parameters together, is shortened before it is squared. */
  maxGradNorm?: number
}

/**
 * The mean of the squared gradients of the loss, by the names of the parameters. The labels are those of the data.
 *
 * @throws where a gradient is not finite, or there is no data
 */
export async function empiricalFisher(
  parameters: ReadonlyMap<string, Parameter>,
  tools: PreparationTools,
  { perExample, limit, maxGradNorm }: FisherOptions,
): Promise<Map<string, Float32Array>> {
  const sums = new Map([...parameters].map(([name, { size }]) => [name, new Float32Array(size)]))
  let count = 0
  for await (const { loss, grads } of tools.gradients(parameters, { perExample, limit })) {
    const norm = grads.norm()
    if (!Number.isFinite(norm)) {
      throw new Error(
        `The importance of weights cannot be told: example ${count} has the loss ${loss} and a gradient of the norm ${norm}; look for wrong labels or a model that overflows`,
      )
    }
    const factor = maxGradNorm !== undefined && norm > maxGradNorm ? maxGradNorm / norm : 1
    for (const { name, offset, size } of grads.parameters.slices) {
      const sum = sums.get(name)!
      for (let i = 0; i < size; i++) sum[i] += (factor * grads.data[offset + i]) ** 2
    }
    count++
  }
  if (count === 0) throw new Error('The importance of weights cannot be told without data; give some batches')
  for (const sum of sums.values()) for (let i = 0; i < sum.length; i++) sum[i] /= count
  return sums
}
