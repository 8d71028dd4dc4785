/** @file Tests of bad steps: values that are not finite, spikes, and stopping early. */
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../test/temporary.ts'
import { defaultEngine, tensorData } from '../runtime/index.ts'
import type { TrainingArgumentsOptions } from './arguments.ts'
import { EarlyStoppingCallback, type EvaluationLog, type SkipReport, type TrainerControl } from './callbacks.ts'
import { LossSpikeError, NonFiniteError } from './errors.ts'
import { LineModel, valuesOf } from './testing/models.ts'
import { contentsOf, pauseAfter, timeless } from './testing/resuming.ts'
import { Trainer, type TrainerOptions } from './trainer.ts'

afterAll(async () => (await defaultEngine()).dispose())

type Pair = [number, number]

/** Points on a line, one a step, so that the rows `bad` are what single steps see. */
function line(args: TrainingArgumentsOptions, bad: Record<number, Pair>, options: Partial<TrainerOptions<Pair>> = {}) {
  const model = new LineModel()
  model.initialize(1)
  const points = Array.from({ length: 16 }, (_, i): Pair => bad[i] ?? [(i % 5) - 2, 3 * ((i % 5) - 2) - 1])
  const skips: SkipReport[] = []
  const trainer = new Trainer<Pair>({
    model,
    trainDataset: points,
    dataCollator: pairs => ({
      x: tensorData(
        'float32',
        pairs.map(([x]) => [x]),
      ),
      y: tensorData(
        'float32',
        pairs.map(([, y]) => [y]),
      ),
    }),
    ...options,
    callbacks: [{ onSkip: report => void skips.push(report) }, ...(options.callbacks ?? [])],
    args: { perDeviceTrainBatchSize: 1, learningRate: 0.02, threads: 1, numTrainEpochs: 1, ...args },
  })
  return { model, trainer, skips }
}

const NAN: Record<number, Pair> = { 3: [Number.NaN, 1] }
/** Its square is finite, its gradient is not. */
const STEEP: Record<number, Pair> = { 3: [3e38, 0] }

describe('a value that is not finite', () => {
  it.each([
    ['loss', NAN],
    ['gradient', STEEP],
  ])('in the %s is skipped when asked: values and optimizer stay, and the rest is learnt', async (_, bad) => {
    const values: unknown[] = []
    const { model, trainer, skips } = line({ onNonFinite: 'skip', maxGradNorm: 0 }, bad, {
      callbacks: [
        { onStepEnd: () => void values.push(valuesOf(model)), onSkip: () => void values.push(valuesOf(model)) },
      ],
    })
    const { globalStep, badSteps, trainingLoss } = await trainer.train()
    expect([globalStep, badSteps]).toEqual([16, 1])
    expect(skips).toMatchObject([{ reason: 'non-finite', action: 'skip', inARow: 1, total: 1, rateFactor: 1 }])
    const at = skips[0].step - 1
    if (at > 0) expect(values[at]).toEqual(values[at - 1])
    expect(Number.isFinite(trainingLoss)).toBe(true)
    expect(Object.values(valuesOf(model)).flat().every(Number.isFinite)).toBe(true)
  })

  it('ends the training after so many in a row', async () => {
    const bad = Object.fromEntries(Array.from({ length: 16 }, (_, i) => [i, [Number.NaN, 1] as Pair]))
    const { trainer, skips } = line({ onNonFinite: 'skip', maxBadSteps: 4 }, bad)
    const error = await trainer.train().catch(error => error)
    expect(error).toBeInstanceOf(NonFiniteError)
    expect(error.message).toMatch(/Step 5 of 16: the loss is NaN.*the 5th bad step in a row, and maxBadSteps is 4/)
    expect(skips).toHaveLength(4)
  })

  it('takes the training back to the last good state, at half the rate', async () => {
    const rates: number[] = []
    const states: Record<number, unknown> = {}
    let after: unknown
    const { model, trainer, skips } = line(
      { onNonFinite: 'backoff', backoffSteps: 4, lrSchedulerType: 'constant' },
      NAN,
      {
        callbacks: [
          {
            onTrainBegin: () => void (states[0] = valuesOf(model)),
            onStepEnd: ({ step, learningRate }) => {
              rates.push(learningRate)
              states[step] = valuesOf(model)
            },
            onSkip: () => void (after = valuesOf(model)),
          },
        ],
      },
    )
    await trainer.train()
    const [{ step, restoredStep, rateFactor, action }] = skips
    expect([action, rateFactor]).toEqual(['backoff', 0.5])
    if (step > 1) {
      expect(restoredStep).toBe(4 * Math.floor((step - 2) / 4))
      expect(after).toEqual(states[restoredStep!])
    }
    expect(rates.slice(0, step - 1).every(rate => rate === 0.02)).toBe(true)
    expect(rates.slice(step - 1).every(rate => rate === 0.01)).toBe(true)
  })
})

describe('a spike of the loss', () => {
  const SPIKE: Record<number, Pair> = { 3: [2, 500], 9: [2, -500] }
  const args = { spikeWindow: 3, spikeFactor: 50, numTrainEpochs: 2, lrSchedulerType: 'constant' } as const

  it('is left alone by default, and found when asked', async () => {
    expect((await line({ numTrainEpochs: 2 }, SPIKE).trainer.train()).badSteps).toBe(0)
    const { trainer, skips } = line({ ...args, onSpike: 'skip' }, SPIKE)
    const { badSteps } = await trainer.train()
    expect(badSteps).toBeGreaterThanOrEqual(2)
    expect(skips[0]).toMatchObject({
      reason: 'spike',
      problem: expect.stringMatching(/times the median of the last 3/),
    })
  })

  it('ends the training when asked', async () => {
    const error = await line({ ...args, onSpike: 'stop' }, SPIKE)
      .trainer.train()
      .catch(error => error)
    expect(error).toBeInstanceOf(LossSpikeError)
    expect(error.message).toMatch(/Step \d+ of 32: the loss is .*, rows (3|9) of the training data.*onSpike: 'skip'/)
  })

  it.each(['skip', 'backoff'] as const)('and %s come out the same after a pause', async onSpike => {
    const folder = await temporaryFolder()
    const all = { ...args, onSpike, onNonFinite: onSpike, saveStrategy: 'steps', saveSteps: 8 } as const
    const bad = { ...SPIKE, ...NAN }
    const whole = line({ ...all, outputDir: join(folder, 'whole') }, bad)
    const expected = timeless(await whole.trainer.train())
    for (const at of [6, 13, 25]) {
      const callbacks = pauseAfter(at)
      await line({ ...all, outputDir: join(folder, 'parted') }, bad, { callbacks, onWarning: () => {} }).trainer.train({
        resumeFromCheckpoint: true,
      })
    }
    const last = line({ ...all, outputDir: join(folder, 'parted') }, bad)
    expect(timeless(await last.trainer.train({ resumeFromCheckpoint: true }))).toEqual(expected)
    expect(await contentsOf(join(folder, 'parted'))).toEqual(await contentsOf(join(folder, 'whole')))
  })
})

describe('stopping early', () => {
  it('counts gains above the threshold only, as Transformers does', () => {
    const callback = new EarlyStoppingCallback({ earlyStoppingPatience: 2, earlyStoppingThreshold: 0.1 })
    callback.onTrainBegin()
    const stops = ([metric, best, bestStep]: [number, number, number], step: number) => {
      const state = { bestMetric: best, bestStep } as TrainerControl['state']
      const control = { shouldTrainingStop: false, state } as TrainerControl
      callback.onEvaluate({ step, epoch: 0, eval_loss: metric } as EvaluationLog, control)
      return control.shouldTrainingStop
    }
    // 0.95 is better than 1, but not by enough; what comes next is measured against it.
    const evaluations: [number, number, number][] = [
      [1, 1, 0],
      [0.95, 0.95, 1],
      [0.8, 0.8, 2],
      [0.79, 0.79, 3],
      [0.9, 0.79, 3],
    ]
    expect(evaluations.map(stops)).toEqual([false, false, false, false, true])
  })
})
