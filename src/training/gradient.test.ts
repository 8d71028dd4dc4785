/** @file Tests of summing and clipping gradients. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { Gradients, Parameter, ParameterVector } from '../nn/index.ts'
import { defaultEngine } from '../runtime/index.ts'
import { clipGradNorm, GradientSum } from './gradient.ts'
import { SGD } from './optimizers/sgd.ts'
import { BagClassifier, bags } from './testing/models.ts'
import { Trainer } from './trainer.ts'

afterAll(async () => (await defaultEngine()).dispose())

const vector = new ParameterVector([['p', Parameter.from([0, 0], [2])]])
const gradients = (...values: number[]) => new Gradients(vector, Float32Array.from(values))

describe('clipGradNorm', () => {
  it("scales by PyTorch's factor and tells the norm before", () => {
    const grads = gradients(3, 4)
    expect(clipGradNorm(grads, 1)).toBe(5)
    expect(grads.data[0]).toBeCloseTo(3 / (5 + 1e-6), 7)
    expect(grads.data[1]).toBeCloseTo(4 / (5 + 1e-6), 7)
  })

  it('leaves short gradients alone, to the bit', () => {
    const grads = gradients(0.3, -0.4)
    clipGradNorm(grads, 1)
    expect(grads.data).toEqual(Float32Array.from([0.3, -0.4]))
  })

  it('never leaves more than the largest norm', () => {
    const value = fc.float({ noNaN: true, noDefaultInfinity: true })
    fc.assert(
      fc.property(value, value, fc.double({ min: 0.01, max: 100, noNaN: true }), (a, b, maxNorm) => {
        const grads = gradients(a, b)
        clipGradNorm(grads, maxNorm)
        expect(grads.norm()).toBeLessThanOrEqual(maxNorm * (1 + 1e-6))
      }),
    )
  })
})

describe('GradientSum', () => {
  it('is the weighted sum, in the first array given', () => {
    const sum = new GradientSum()
    const first = gradients(1, 2)
    sum.add(first, 0.25)
    sum.add(gradients(4, -8), 0.75)
    expect(sum.total.data).toEqual(Float32Array.from([3.25, -5.5]))
    expect(sum.total.data).toBe(first.data)
  })

  it('has no total before anything was added', () => {
    expect(() => new GradientSum().total).toThrow(/No gradients/)
  })
})

describe('a step of many passes', () => {
  it('holds one vector of gradients, into which that of each pass is added and which the optimizer gets', async () => {
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    const given: WeakRef<Float32Array>[] = []
    const held: number[][] = []
    const isFirst: boolean[] = []
    const { add } = GradientSum.prototype
    const { step } = SGD.prototype
    // Spies of vitest would keep what they were called with.
    GradientSum.prototype.add = function (grads, weight) {
      collect()
      held.push(given.flatMap((vector, i) => (vector.deref() ? [i] : [])))
      given.push(new WeakRef(grads.data))
      add.call(this, grads, weight)
    }
    SGD.prototype.step = function (grads) {
      isFirst.push(grads.data === given[0].deref())
      step.call(this, grads)
    }
    try {
      const args = { perDeviceTrainBatchSize: 2, gradientAccumulationSteps: 6, maxSteps: 1, threads: 1 }
      await new Trainer({
        model: new BagClassifier(),
        trainDataset: bags(12),
        args: { ...args, optim: 'sgd' },
      }).train()
    } finally {
      GradientSum.prototype.add = add
      SGD.prototype.step = step
    }
    expect(held).toEqual([[], [0], [0], [0], [0], [0]])
    expect(isFirst).toEqual([true])
  })
})
