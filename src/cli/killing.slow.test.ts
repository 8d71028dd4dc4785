/** @file Fifty kills: each resumed training ends with the very bytes of the uninterrupted one. */
import { describe, expect, it } from 'vitest'
import { Random } from '../util/random.ts'
import { hashes, killAtRandom, longTraining, recorded, timeTraining } from './testing/killing.ts'
import { peft } from './testing/peft.ts'

const KILLS = 50

describe('a training that is killed', () => {
  it(`ends, resumed, with the very bytes of one that was not, at ${KILLS} random moments`, {
    timeout: 3_600_000,
  }, async () => {
    const { path, call, expected, record } = await longTraining(30)
    const seed = Date.now()
    const random = new Random(seed)
    const trained = await timeTraining(call('timed'))
    expect(await hashes(path('timed'))).toEqual(expected)
    let kills = 0
    const trials: number[] = []
    for (let i = 0; kills < KILLS; i++) {
      const output = `killed-${i}`
      // Now and then the same training again and again.
      const before = kills
      do if (await killAtRandom([...call(output), '--resume'], random, trained)) kills++
      while (random.uniform() < 0.5)
      const { code, stdout } = await peft([...call(output), '--resume'])
      expect(code, `trial ${i} of seed ${seed}: ${stdout.trim().split('\n').at(-1)}`).toBe(0)
      expect(await hashes(path(output)), `trial ${i} of seed ${seed}`).toEqual(expected)
      expect(await recorded(path(output)), `trial ${i} of seed ${seed}`).toEqual(record)
      trials.push(kills - before)
    }
    console.log(`${kills} kills (${trials.join(' ')} a training), seed ${seed}: all bytes equal`)
  })
})
