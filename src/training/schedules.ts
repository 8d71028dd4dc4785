/** @file Learning-rate schedules: what part of the learning rate each step takes, by Transformers' formulas. */
import { didYouMean } from '../util/nearest.ts'

/** The factor that the learning rate is multiplied by at `step`, which counts finished steps from 0. */
export type Schedule = (step: number) => number

/** Lengths that a schedule is made for, in optimizer steps. */
export interface ScheduleOptions {
  /** The steps in which the rate rises from 0; 0 by default. The first of them has rate 0. */
  numWarmupSteps?: number
  /** The steps of the whole training. */
  numTrainingSteps: number
  /** Waves of the cosine; by default 0.5: from the top to the bottom once. */
  numCycles?: number
}

/** The full rate at every step. */
export function getConstantSchedule(): Schedule {
  return () => 1
}

/** A linear rise from 0, then the full rate. */
export function getConstantScheduleWithWarmup({
  numWarmupSteps = 0,
}: Pick<ScheduleOptions, 'numWarmupSteps'>): Schedule {
  return step => (step < numWarmupSteps ? step / Math.max(1, numWarmupSteps) : 1)
}

/** A linear rise from 0, then a linear fall to 0 at the last step. */
export function getLinearScheduleWithWarmup({ numWarmupSteps = 0, numTrainingSteps }: ScheduleOptions): Schedule {
  return step => {
    if (step < numWarmupSteps) return step / Math.max(1, numWarmupSteps)
    return Math.max(0, (numTrainingSteps - step) / Math.max(1, numTrainingSteps - numWarmupSteps))
  }
}

/** A linear rise from 0, then a fall along a cosine. */
export function getCosineScheduleWithWarmup(options: ScheduleOptions): Schedule {
  const { numWarmupSteps = 0, numTrainingSteps, numCycles = 0.5 } = options
  return step => {
    if (step < numWarmupSteps) return step / Math.max(1, numWarmupSteps)
    const progress = (step - numWarmupSteps) / Math.max(1, numTrainingSteps - numWarmupSteps)
    return Math.max(0, 0.5 * (1 + Math.cos(Math.PI * numCycles * 2 * progress)))
  }
}

const schedules = {
  linear: getLinearScheduleWithWarmup,
  cosine: getCosineScheduleWithWarmup,
  constant: getConstantSchedule,
  constant_with_warmup: getConstantScheduleWithWarmup,
} as const satisfies Record<string, (options: ScheduleOptions) => Schedule>

/** The name of a schedule, as Transformers spells it. */
export type SchedulerType = keyof typeof schedules

/** The names of all schedules. */
export const SCHEDULER_TYPES = Object.keys(schedules) as SchedulerType[]

/** The schedule called `type`. Throws for an unknown name. */
export function getScheduler(type: SchedulerType, options: ScheduleOptions): Schedule {
  if (!Object.hasOwn(schedules, type)) {
    throw new Error(
      `The schedule "${type}" is not known.${didYouMean(type, SCHEDULER_TYPES)} Known are ${SCHEDULER_TYPES.join(', ')}.`,
    )
  }
  return schedules[type](options)
}
