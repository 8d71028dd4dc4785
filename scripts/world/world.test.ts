/** @file Tests of the world: counts, the split, and answers that follow from the prompt. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Random } from '../../src/util/random.ts'
import type { Skill } from './task.ts'
import { generateWorld, SKILLS, splitPrompts } from './world.ts'

const world = generateWorld({ seed: 0, trainSize: 12_000, heldOutSize: 600 })
const everything = [...world.train, ...world.heldOut]

describe('the world', () => {
  it('gives the same examples for the same seed and others for another', () => {
    const sample = (seed: number) => generateWorld({ seed, trainSize: 500, heldOutSize: 100 })
    expect(sample(3)).toEqual(sample(3))
    expect(sample(3)).not.toEqual(sample(4))
  })

  it('has the number of examples asked for', () => {
    expect(world.train).toHaveLength(12_000)
    expect(world.heldOut).toHaveLength(600)
  })

  it('refuses more held-out examples than it can give', () => {
    expect(() => generateWorld({ trainSize: 0, heldOutSize: 5000 })).toThrow(/Asked for 5000 held-out examples, found/)
  })

  it('trains and holds out every skill', () => {
    const names = SKILLS.map(skill => skill.name).sort()
    expect(new Set(names).size).toBe(SKILLS.length)
    expect([...new Set(world.train.map(example => example.skill))].sort()).toEqual(names)
    expect([...new Set(world.heldOut.map(example => example.skill))].sort()).toEqual(names)
  })

  it('holds out prompts that training never sees, each once', () => {
    const seen = new Set(world.train.map(example => example.prompt))
    expect(world.heldOut.filter(example => seen.has(example.prompt))).toEqual([])
    expect(new Set(world.heldOut.map(example => example.prompt)).size).toBe(world.heldOut.length)
  })

  it('has one answer for each prompt, over all skills', () => {
    const answers = new Map<string, string>()
    for (const { prompt, completion } of everything) {
      expect([prompt, answers.get(prompt) ?? completion]).toEqual([prompt, completion])
      answers.set(prompt, completion)
    }
  })

  it('ends prompts in a stop or question mark and starts completions with one space', () => {
    for (const { prompt, completion } of everything) {
      expect(prompt).toMatch(/^\S.*[.?]$/)
      expect(completion).toMatch(/^ \S(.*\S)?$/)
    }
  })
})

describe('the split', () => {
  const kept = (holdOut: Skill['holdOut']) => SKILLS.filter(skill => skill.holdOut === holdOut)
  const tasks = fc.record({ seed: fc.nat(), split: fc.nat() })

  it('puts every wording of every task on exactly one side', () => {
    fc.assert(
      fc.property(tasks, fc.constantFrom(...SKILLS), ({ seed, split }, skill) => {
        const task = skill.draw(new Random(seed))
        const { train, heldOut } = splitPrompts(skill, task, split)
        expect([...train, ...heldOut].sort()).toEqual([...task.prompts].sort())
      }),
    )
  })

  it('keeps a held-out task of a rule from training under every wording', () => {
    fc.assert(
      fc.property(tasks, fc.constantFrom(...kept('content')), ({ seed, split }, skill) => {
        const sides = splitPrompts(skill, skill.draw(new Random(seed)), split)
        expect(Math.min(sides.train.length, sides.heldOut.length)).toBe(0)
      }),
    )
  })

  it('leaves every closed fact in training under some wording', () => {
    fc.assert(
      fc.property(tasks, fc.constantFrom(...kept('wording')), ({ seed, split }, skill) => {
        expect(splitPrompts(skill, skill.draw(new Random(seed)), split).train.length).toBeGreaterThan(0)
      }),
    )
  })
})

describe('the answers', () => {
  const answer = (prompt: string) => everything.find(example => example.prompt === prompt)?.completion
  const each = (skill: string) => everything.filter(example => example.skill === skill)

  it('follow from the facts of the world', () => {
    const homes = each('home').filter(example => example.prompt.includes('Mira'))
    expect(homes.length).toBeGreaterThan(0)
    for (const { completion } of homes) expect(completion).toBe(' Mira lives in Oakham.')
    expect(answer('Make cherry plural.') ?? answer('What is the plural of cherry?')).toBe(' cherries')
  })

  it('are right for the skills that compute', () => {
    for (const { prompt, completion } of each('add')) {
      const [a, b] = prompt.match(/\d+/g)!.map(Number)
      expect(Number(completion)).toBe(a + b)
    }
    for (const { prompt, completion } of each('larger')) {
      const [a, b] = prompt.match(/\d+/g)!.map(Number)
      expect(Number(completion)).toBe(Math.max(a, b))
    }
    for (const { prompt, completion } of each('sort')) {
      const [first, second] = completion.trim().split(' ')
      expect(first <= second).toBe(true)
      expect(prompt).toContain(first)
      expect(prompt).toContain(second)
    }
  })
})
