/** @file Tests of the orders: disjoint sets, and records that say what the prompt says. */
import { describe, expect, it } from 'vitest'
import { NUMBER_WORDS, plural } from './facts.ts'
import { generateOrders } from './skill.ts'
import { generateWorld } from './world.ts'

const { train, test } = generateOrders({ seed: 0, trainSize: 600, testSize: 200 })

describe('the orders', () => {
  it('are the same for the same seed and others for another', () => {
    expect(generateOrders({ seed: 0 })).toEqual({ train, test })
    expect(generateOrders({ seed: 1 }).test).not.toEqual(test)
  })

  it('share no record between training and test', () => {
    const seen = new Set(train.map(example => example.completion))
    expect(test.filter(example => seen.has(example.completion))).toEqual([])
    expect(new Set([...train, ...test].map(example => example.prompt)).size).toBe(800)
  })

  it('stay disjoint when the sets grow', () => {
    const larger = generateOrders({ seed: 0, trainSize: 2000, testSize: 50 })
    const seen = new Set(larger.train.map(example => example.completion))
    expect(test.filter(example => seen.has(example.completion))).toEqual([])
  })

  it('name in the record what the prompt says', () => {
    for (const { prompt, completion } of [...train, ...test]) {
      const { item, count, colour, to, ...rest } = JSON.parse(completion)
      expect(rest).toEqual({})
      expect(prompt).toContain(`${NUMBER_WORDS[count]} ${colour} ${count === 1 ? item : plural(item)}`)
      expect(prompt).toContain(to)
    }
  })

  it('need a format that the world never shows', () => {
    const texts = generateWorld({ trainSize: 12_000 }).train.map(({ prompt, completion }) => prompt + completion)
    expect(texts.filter(text => text.includes('{"') || text.includes('":'))).toEqual([])
  })

  it('refuse a set that the world is too small for', () => {
    expect(() => generateOrders({ trainSize: 20_000 })).toThrow(/Asked for 20000 orders.*at most 2592/)
  })
})
