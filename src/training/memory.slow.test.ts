/** @file Ten thousand steps: the memory of a training does not grow with its length. */
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../test/temporary.ts'
import { BagClassifier, bags } from './testing/models.ts'
import { Trainer } from './trainer.ts'

const STEPS = 10_000
const FROM = 500
const GROWTH = 1.05
/** Steps in a row that are measured; the least is taken, since what is in use at a moment differs by some MiB. */
const MEASURED = 10

describe('a long training', () => {
  it(`has after ${STEPS} steps at most 5 % more resident memory than after ${FROM}`, {
    timeout: 1_800_000,
  }, async () => {
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    const resident = { before: Number.POSITIVE_INFINITY, after: Number.POSITIVE_INFINITY }
    const trainer = new Trainer({
      model: new BagClassifier({ dropout: 0.1 }),
      trainDataset: bags(256),
      evalDataset: bags(32, 1),
      args: {
        outputDir: join(await temporaryFolder(), 'out'),
        ...{ maxSteps: STEPS, threads: 1, learningRate: 1e-3, onNonFinite: 'backoff' },
        ...{ evalStrategy: 'steps', evalSteps: 100, saveStrategy: 'steps', saveSteps: 250, saveTotalLimit: 2 },
      },
      callbacks: [
        {
          onStepEnd: ({ step }) => {
            const when =
              step >= FROM && step < FROM + MEASURED ? 'before' : step > STEPS - MEASURED ? 'after' : undefined
            if (!when) return
            collect()
            resident[when] = Math.min(resident[when], process.memoryUsage.rss())
          },
        },
      ],
    })
    await trainer.train()
    const { before, after } = resident
    console.log(
      `resident memory: ${(before / 2 ** 20).toFixed(1)} MiB after ${FROM} steps, ${(after / 2 ** 20).toFixed(1)} after ${STEPS}`,
    )
    expect(after / before).toBeLessThan(GROWTH)
  })
})
