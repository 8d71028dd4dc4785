/** @file Tests of the written files: same seed, same bytes. */
import { describe, expect, it } from 'vitest'
import { worldFiles } from './write.ts'

const small = { trainSize: 800, heldOutSize: 100 }

describe('the files of the world', () => {
  it('are the same bytes for the same seed', () => {
    expect(worldFiles({ ...small, seed: 5 })).toEqual(worldFiles({ ...small, seed: 5 }))
  })

  it('differ in their data for another seed', () => {
    const [a, b] = [worldFiles({ ...small, seed: 5 }), worldFiles({ ...small, seed: 6 })]
    for (const name of ['train.jsonl', 'heldout.jsonl', 'skill-train.jsonl', 'skill-test.jsonl']) {
      expect(a.get(name)).not.toBe(b.get(name))
    }
  })

  it('hold one JSON object a line', () => {
    const lines = worldFiles(small).get('heldout.jsonl')!.split('\n')
    expect(lines.pop()).toBe('')
    expect(lines).toHaveLength(100)
    for (const line of lines) expect(Object.keys(JSON.parse(line))).toEqual(['prompt', 'completion', 'skill'])
  })
})
