import { appendFile, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../test/temporary.ts'
import { METRICS_FILE, metricsFile, readEvents } from './metrics-file.ts'
import { statusOf } from './runs.ts'
import { CalledTraining, evaluationOf, logOf } from './testing/training.ts'

const read = (folder: string) => readEvents(join(folder, METRICS_FILE))

async function trained(folder: string, steps: readonly number[]): Promise<CalledTraining> {
  const training = new CalledTraining([metricsFile(folder, { details: { model: 'tiny' } })])
  await training.begin()
  for (const step of steps) await training.log(step)
  return training
}

describe('metrics.jsonl', () => {
  it('holds the arguments, each log with the memory, evaluations and the result, and can be read as it grows', async () => {
    const folder = await temporaryFolder({})
    const training = await trained(folder, [5])
    const [start, log] = await read(folder)
    expect(start).toMatchObject({
      event: 'start',
      step: 0,
      max_steps: 20,
      arguments: { learningRate: 0.003, model: 'tiny' },
    })
    expect(log).toMatchObject({ event: 'log', ...logOf(5) })
    expect((log as { memory_bytes: number }).memory_bytes).toBeGreaterThan(1e7)
    expect(statusOf(await read(folder))).toBe('running')
    await training.evaluate(5)
    await training.call('onSave', { step: 5, folder: '/somewhere/checkpoint-5' })
    await training.call('onSave', { step: 5, folder: '/somewhere/out' })
    await training.end()
    const events = await read(folder)
    expect(events.map(({ event }) => event)).toEqual(['start', 'log', 'evaluation', 'save', 'save', 'end'])
    expect(events[2]).toMatchObject(evaluationOf(5))
    expect(events.slice(3, 5).map(event => 'checkpoint' in event && event.checkpoint)).toEqual(['checkpoint-5', false])
    expect(events.at(-1)).toMatchObject({ training_loss: 0.5, metrics: { eval_loss: 0.1 }, stopped: false })
    expect(statusOf(events)).toBe('finished')
  })

  it('is replaced by a training that begins anew', async () => {
    const folder = await temporaryFolder({})
    await trained(folder, [5, 10])
    await trained(folder, [7])
    expect((await read(folder)).map(({ step }) => step)).toEqual([0, 7])
  })

  it('is continued by a resumed training without what came after the checkpoint', async () => {
    const folder = await temporaryFolder({})
    const before = await trained(folder, [5, 10])
    const history = [...before.state.history]
    // The checkpoint of step 10 was written before the evaluation of that step.
    await before.evaluate(10)
    await before.log(15)
    await appendFile(join(folder, METRICS_FILE), '{"event":"log","st')
    const warnings: string[] = []
    const onWarning = (message: string) => void warnings.push(message)
    const after = new CalledTraining([metricsFile(folder, { onWarning })], { step: 10, history })
    await after.begin()
    await after.evaluate(10)
    await after.log(15)
    const events = await read(folder)
    expect(events.map(({ event, step }) => `${event} ${step}`)).toEqual([
      ...['start 0', 'log 5', 'log 10', 'resume 10', 'evaluation 10', 'log 15'],
    ])
    expect(warnings).toHaveLength(1)
    expect(warnings[0]).toMatch(/metrics\.jsonl: left out line 6, which is not complete/)
  })

  it('is continued too where a full disk ended a line in the middle and another follows it', async () => {
    const folder = await temporaryFolder({})
    const { state } = await trained(folder, [5])
    await appendFile(
      join(folder, METRICS_FILE),
      '{"event":"log","st{"event":"error","step":7}\n{"event":"save","step":5}',
    )
    const warnings: string[] = []
    const onWarning = (message: string) => void warnings.push(message)
    await new CalledTraining([metricsFile(folder, { onWarning })], { step: 5, history: state.history }).begin()
    expect((await read(folder)).map(({ event }) => event)).toEqual(['start', 'log', 'save', 'resume'])
    expect(warnings.join()).toContain('left out line 3,')
  })

  it('says why a training ended, what was left out, and that a paused one can be resumed', async () => {
    const folder = await temporaryFolder({})
    const training = await trained(folder, [5])
    const skip = {
      step: 6,
      epoch: 0.6,
      maxSteps: 20,
      loss: Number.NaN,
      restoredStep: 4,
      rateFactor: 0.5,
      inARow: 1,
      total: 1,
    }
    await training.call('onSkip', { ...skip, reason: 'non-finite', problem: 'the loss is NaN', action: 'backoff' })
    await training.call('onPause', { step: 6, folder: '/x/checkpoint-6' })
    expect(statusOf(await read(folder))).toBe('suspended')
    await training.call('onTrainError', { step: 6, error: new RangeError('no') })
    const events = await read(folder)
    expect(events.slice(2)).toMatchObject([
      { event: 'skip', problem: 'the loss is NaN', restored_step: 4, rate_factor: 0.5 },
      { event: 'pause', checkpoint: 'checkpoint-6' },
      { event: 'error', name: 'RangeError', message: 'no' },
    ])
    expect(statusOf(events)).toBe('failed')
  })

  it('says which file could not be written and what to do', async () => {
    const folder = await temporaryFolder({})
    const training = await trained(folder, [5])
    await rm(folder, { recursive: true })
    await expect(training.log(10)).rejects.toThrow(/Could not write to .*metrics\.jsonl: ENOENT.*put it back/)
  })

  it('writes what is not finite as a word, and names a line that is no JSON', async () => {
    const folder = await temporaryFolder({})
    const training = await trained(folder, [])
    await training.call('onEvaluate', { step: 1, epoch: 1, eval_perplexity: Number.POSITIVE_INFINITY })
    const path = join(folder, METRICS_FILE)
    expect(await readFile(path, 'utf8')).toContain('"eval_perplexity":"Infinity"')
    await appendFile(path, 'oops\n')
    await expect(read(folder)).rejects.toThrow(/metrics\.jsonl, line 3 is not JSON/)
  })
})
