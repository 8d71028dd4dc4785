import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { RunEvent } from '../events.ts'
import { logOf } from '../testing/training.ts'
import { changes, chartsOf, latest, linesOf, secondsLeft, smoothed, tableOf } from './data.js'

const at = (second: number) => new Date(1e12 + second * 1000).toISOString()
const start: RunEvent = {
  ...{ event: 'start', time: at(0), step: 0, max_steps: 100, arguments: {}, pid: 1, host: 'x' },
}
const log = (step: number, second: number): RunEvent => ({
  ...{ event: 'log', time: at(second), memory_bytes: 1e6 },
  ...logOf(step),
})

describe('what the page makes of events', () => {
  it('draws each measurement over steps or seconds, with words for what is not finite left out', () => {
    const evaluation = { event: 'evaluation', time: at(9), step: 10, epoch: 1, eval_loss: 'NaN', eval_f1: 0.5 }
    const events = [start, log(5, 4), log(10, 8), evaluation as unknown as RunEvent]
    expect(linesOf(events, 'step').get('loss')).toEqual({ x: [5, 10], y: [1 / 6, 1 / 11] })
    expect(linesOf(events, 'time').get('memory_bytes')?.x).toEqual([4, 8])
    expect(linesOf(events, 'step').has('eval_loss')).toBe(false)
    expect(latest(events, 'eval_f1')).toBe(0.5)
    expect(chartsOf(linesOf(events, 'step').keys()).slice(0, 2)).toEqual([['loss'], ['eval_f1']])
    expect(tableOf(events).rows.map(({ step, eval_f1 }) => [step, eval_f1])).toEqual([
      [10, 0.5],
      [5, undefined],
    ])
  })

  it('says how long it takes by the pace after the first log, once there is one', () => {
    expect(secondsLeft([start, log(10, 60)], 10, 100)).toBeUndefined()
    expect(secondsLeft([start, log(10, 60), log(20, 65)], 20, 100)).toBe(40)
  })

  it('smooths within the values, and not at all with a weight of 0', () => {
    const values = fc.array(fc.double({ min: -1e6, max: 1e6, noNaN: true }), { minLength: 1 })
    fc.assert(
      fc.property(values, fc.double({ min: 0, max: 0.98, noNaN: true }), (list, weight) => {
        for (const value of smoothed(list, weight)) {
          expect(value).toBeGreaterThanOrEqual(Math.min(...list) - 1e-6)
          expect(value).toBeLessThanOrEqual(Math.max(...list) + 1e-6)
        }
        expect(smoothed(list, 0).every((value, i) => value === list[i])).toBe(true)
      }),
    )
  })

  it('marks the words of a text that are new, and keeps every letter', () => {
    expect(changes('the capital is is', 'the capital of France is Paris').filter(({ isNew }) => isNew)).toEqual([
      { text: ' of', isNew: true },
      { text: ' France', isNew: true },
      { text: ' Paris', isNew: true },
    ])
    const text = fc.string({ unit: fc.constantFrom('a', 'b', ' ', '\n') })
    fc.assert(
      fc.property(text, text, (before, now) => {
        const words = changes(before, now)
        expect(words.map(word => word.text).join('')).toBe(now)
        expect(changes(now, now).some(({ isNew }) => isNew)).toBe(false)
      }),
    )
  })
})
