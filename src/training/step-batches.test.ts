/** @file Batches that are made ahead: each once, in the order of the steps, and errors where they belong. */
import { describe, expect, it } from 'vitest'
import { tensorData } from '../runtime/index.ts'
import { StepBatches } from './step-batches.ts'

const later = () => new Promise(resolve => setTimeout(resolve, 5))
const [first, second] = [[[0, 1], [2]], [[3]]]

function recorded(fails: number | undefined = undefined) {
  const made: number[][] = []
  const batches = new StepBatches(examples => {
    made.push([...examples])
    if (examples[0] === fails) throw new Error(`example ${fails} is bad`)
    return { input_ids: tensorData('int64', examples) }
  })
  return { made, batches }
}

describe('StepBatches', () => {
  it('makes the batches of the next step before they are asked for, and once', async () => {
    const { made, batches } = recorded()
    expect(batches.take(first).map(({ input_ids }) => input_ids.dims)).toEqual([[2], [1]])
    batches.prepare(second)
    expect(made).toEqual(first)
    await later()
    expect(made).toEqual([...first, ...second])
    expect(batches.take(second)).toHaveLength(1)
    expect(made).toEqual([...first, ...second])
  })

  it('makes them when they are asked for earlier, or others are', async () => {
    const { made, batches } = recorded()
    batches.prepare(second)
    batches.take(second)
    batches.prepare(second)
    await later()
    batches.take(first)
    await later()
    expect(made).toEqual([...second, ...second, ...first])
  })

  it('tells of a bad example at its step', async () => {
    const { batches } = recorded(3)
    batches.prepare(second)
    await later()
    expect(batches.take(first)).toHaveLength(2)
    expect(() => batches.take(second)).toThrow('example 3 is bad')
  })

  it('makes nothing after it was cancelled', async () => {
    const { made, batches } = recorded()
    batches.prepare(second)
    batches.cancel()
    await later()
    expect(made).toEqual([])
  })
})
