/** @file Tests of the learning-rate schedules. */
import { describe, expect, it } from 'vitest'
import { getScheduler, type SchedulerType } from './schedules.ts'

// Printed by transformers 5.23: get_last_lr() of each schedule over 12 steps at learning rate 1, 3 of them warm-up, 10 in all.
const REFERENCE: Partial<Record<SchedulerType, number[]>> = {
  linear: [
    0, 0.333333333333, 0.666666666667, 1, 0.857142857143, 0.714285714286, 0.571428571429, 0.428571428571,
    0.285714285714, 0.142857142857, 0, 0,
  ],
  cosine: [
    0, 0.333333333333, 0.666666666667, 1, 0.950484433951, 0.811744900929, 0.611260466978, 0.388739533022,
    0.188255099071, 0.049515566049, 0, 0.049515566049,
  ],
  constant_with_warmup: [0, 0.333333333333, 0.666666666667, 1, 1, 1, 1, 1, 1, 1, 1, 1],
  constant: new Array(12).fill(1),
}

describe('getScheduler', () => {
  it.each(Object.entries(REFERENCE))('gives the values of Transformers for %s', (type, expected) => {
    const schedule = getScheduler(type as SchedulerType, { numWarmupSteps: 3, numTrainingSteps: 10 })
    expected.forEach((value, step) => {
      expect(schedule(step)).toBeCloseTo(value, 11)
    })
  })

  it('starts at the full rate without warm-up', () => {
    expect(getScheduler('linear', { numTrainingSteps: 4 })(0)).toBe(1)
    expect(getScheduler('cosine', { numTrainingSteps: 4 })(0)).toBe(1)
  })

  it('refuses an unknown name and suggests the nearest', () => {
    expect(() => getScheduler('cosin' as SchedulerType, { numTrainingSteps: 1 })).toThrow(
      /"cosin" is not known.*"cosine"/,
    )
  })
})
