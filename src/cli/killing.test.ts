/** @file Trainings that are killed, and that the disk fails: what was saved survives, and a resumed run ends the same. */
import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { Random } from '../util/random.ts'
import { hashes, killAtRandom, longTraining, recorded, scalarsOf, startPeft } from './testing/killing.ts'
import { peft } from './testing/peft.ts'

describe('a training that is killed', () => {
  it('ends, resumed, with the very bytes of one that was not, after three kills', { timeout: 120_000 }, async () => {
    const { path, call, expected, record } = await longTraining(24)
    const random = new Random(Date.now())
    for (let i = 0; i < 3; i++) await killAtRandom([...call('killed'), '--resume'], random, 600)
    const { code, stderr } = await peft([...call('killed'), '--resume'])
    expect([code, stderr]).toEqual([0, ''])
    expect(await hashes(path('killed'))).toEqual(expected)
    const told = await recorded(path('killed'))
    expect(told).toEqual(record)
    // Eight times a log, an evaluation and its samples, and the end.
    expect(told.events).toHaveLength(25)
    const scalars = told.values.filter(({ scalar, tag }) => scalar !== undefined && tag !== 'train/epoch')
    expect(scalars).toEqual(scalarsOf(told.lines))
  })
})

describe('a disk that is full', () => {
  it('ends the training with advice and spares the last checkpoint, from which it goes on', {
    timeout: 120_000,
  }, async () => {
    const { path, call, expected } = await longTraining(6)
    const controller = new AbortController()
    const onStdout = (text: string) => void (text.includes('"step":3,') && controller.abort())
    await peft(call('full'), { signal: controller.signal, onStdout })
    expect(existsSync(path('full/checkpoint-3'))).toBe(true)
    const before = await hashes(path('full/checkpoint-3'))
    // No file can be longer than 8 KiB; the adapter is.
    const { stdout, code } = await startPeft([...call('full'), '--resume'], 'ulimit -f 8;').ended
    expect(code).toBe(1)
    expect(JSON.parse(stdout.trim().split('\n').at(-1)!).message).toMatch(
      /Could not write the checkpoint of step 4.*EFBIG.*checkpoint-3 is complete; --resume goes on.*free some space/,
    )
    expect(await hashes(path('full/checkpoint-3'))).toEqual(before)
    expect((await readdir(path('full'))).filter(name => name.startsWith('.'))).toEqual([])
    expect((await peft([...call('full'), '--resume'])).code).toBe(0)
    expect(await hashes(path('full'))).toEqual(expected)
  })
})
