import { appendFile, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../../test/temporary.ts'
import { METRICS_FILE, metricsFile, readEvents } from '../metrics-file.ts'
import { eventFiles, readEventFile, shownValues } from '../testing/event-file.ts'
import { CalledTraining, logOf } from '../testing/training.ts'
import { crc32c } from './crc32c.ts'
import { tensorBoard } from './tensorboard.ts'
import { frameRecord, readRecords } from './tfrecord.ts'

const samples = {
  consider() {},
  at: async ({ step }: { step: number }) => ({
    ...{ event: 'samples' as const, time: new Date().toISOString(), step, kind: 'prediction' as const },
    samples: [{ input: 'a <b> text', expected: 'good', output: 'bad', confidence: 0.75 }],
  }),
}

async function trained(folder: string, options = {}): Promise<CalledTraining> {
  const training = new CalledTraining([metricsFile(folder, options), tensorBoard(folder, options)])
  await training.begin()
  await training.log(5)
  await training.evaluate(5)
  return training
}

describe('TFRecord', () => {
  it('has the checksum of RFC 3720', () => {
    expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283)
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa)
  })

  it('gives records back up to the first that is cut off or damaged', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 5 }), fc.nat(), (records, at) => {
        const bytes = Buffer.concat(records.map(frameRecord))
        expect([...readRecords(bytes)].map(data => [...data])).toEqual(records.map(data => [...data]))
        if (bytes.length === 0) return
        bytes[at % bytes.length] ^= 1
        const ends = records.map((_, i) => records.slice(0, i + 1).reduce((sum, { length }) => sum + length + 16, 0))
        expect([...readRecords(bytes)]).toHaveLength(ends.filter(end => end <= at % bytes.length).length)
        expect([...readRecords(bytes.subarray(0, bytes.length - 1))].length).toBeLessThan(records.length)
      }),
    )
  })
})

describe("TensorBoard's events", () => {
  it('say the same as metrics.jsonl, to the last bit of a float', async () => {
    const folder = await temporaryFolder({})
    await trained(folder, { samples, details: { model: 'tiny' } })
    const [path] = await eventFiles(folder)
    const { versions, values } = await readEventFile(path)
    expect(versions).toEqual(['brain.Event:2'])
    const told = new Map(values.map(({ step, tag, scalar }) => [`${tag} ${step}`, scalar]))
    const [, log, evaluation] = (await readEvents(join(folder, METRICS_FILE))) as unknown as Record<string, number>[]
    for (const name of Object.keys(logOf(5))) {
      if (name !== 'step') expect(told.get(`train/${name} 5`)).toBe(Math.fround(log[name]))
    }
    expect(told.get('train/memory_bytes 5')).toBe(Math.fround(log.memory_bytes))
    expect(told.get('eval/loss 5')).toBe(Math.fround(evaluation.eval_loss))
    const texts = values.filter(({ plugin }) => plugin === 'text')
    expect(texts.map(({ tag }) => tag)).toEqual(['arguments', 'samples/1'])
    expect(texts[0].text).toContain('"model": "tiny"')
    expect(texts[1].text).toMatch(/ {4}a <b> text.*\(75\.0 %\).* {4}bad.*Expected.* {4}good/s)
  })

  it('of a resumed training go on in a file that takes back what came after the checkpoint', async () => {
    const folder = await temporaryFolder({})
    const before = await trained(folder, { samples })
    const history = [...before.state.history]
    await before.log(10)
    await before.evaluate(10)
    const [path] = await eventFiles(folder)
    await appendFile(path, (await readFile(path)).subarray(0, 30))
    const left = await readFile(path)
    // Twice, as when the second process is killed as well.
    for (let i = 0; i < 2; i++) {
      const after = new CalledTraining([tensorBoard(folder, { samples })], { step: 5, history: [...history] })
      await after.begin()
      await after.log(10)
      await after.log(15)
    }
    expect(await eventFiles(folder)).toHaveLength(3)
    expect(await readFile(path)).toEqual(left)
    const shown = await shownValues(folder)
    const steps = (wanted: string) => shown.filter(({ tag }) => tag === wanted).map(({ step }) => step)
    expect(steps('arguments')).toEqual([0])
    expect(steps('train/loss')).toEqual([5, 10, 15])
    expect(steps('eval/loss')).toEqual([5])
    expect(steps('samples/1')).toEqual([5])
  })

  it("of the checkpoint's own step are told once, also where they come after the checkpoint again", async () => {
    const folder = await temporaryFolder({})
    const before = await trained(folder)
    // The checkpoint of step 5 was written between the log and the evaluation.
    const history = before.state.history.slice(0, 1)
    const after = new CalledTraining([tensorBoard(folder)], { step: 5, history })
    await after.begin()
    await after.evaluate(5)
    const told = (await shownValues(folder)).map(({ tag, step }) => `${tag} ${step}`)
    expect(told.filter(name => /loss/.test(name))).toEqual(['train/loss 5', 'eval/loss 5'])
  })

  it('of an earlier training are replaced, and those of other programs left alone', async () => {
    const folder = await temporaryFolder({})
    const foreign = join(folder, 'events.out.tfevents.1.host.1.0')
    await writeFile(foreign, 'theirs')
    await trained(folder)
    await trained(folder)
    const files = await eventFiles(folder)
    expect(files).toHaveLength(2)
    expect(await readFile(foreign, 'utf8')).toBe('theirs')
  })
})
