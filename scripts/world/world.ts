/** @file The text the embedded base is pretrained on: instructions of the closed world with their answers. */
import { hashString, Random } from '../../src/util/random.ts'
import { calendarSkills } from './skills/calendar.ts'
import { listSkills } from './skills/lists.ts'
import { numberSkills } from './skills/numbers.ts'
import { peopleSkills } from './skills/people.ts'
import { thingSkills } from './skills/things.ts'
import { wordSkills } from './skills/words.ts'
import type { Example, Skill, Task } from './task.ts'

/** Every skill of the world. */
export const SKILLS: readonly Skill[] = [
  ...peopleSkills,
  ...thingSkills,
  ...wordSkills,
  ...listSkills,
  ...numberSkills,
  ...calendarSkills,
]

const HELD_OUT_CONTENT = 0.1
const HELD_OUT_WORDING = 0.6
/** The most held-out examples of one skill, so that the rich skills do not crowd out the small ones. */
const MOST_HELD_OUT = 100
/** Draws without a new prompt after which a skill counts as exhausted. */
const PATIENCE = 5000

export interface WorldOptions {
  seed?: number
  /** Number of training examples; a small skill's prompts repeat. */
  trainSize?: number
  /** Number of held-out examples, spread evenly over the skills as far as the small ones reach. */
  heldOutSize?: number
}

export interface World {
  train: Example[]
  /** Distinct prompts, none of which is in `train`. */
  heldOut: Example[]
}

/**
 * Draws the pretraining and the held-out set. Which prompts are held out depends on the seed and the task alone,
 * so the two sets are disjoint at any size.
 * @throws RangeError when more held-out examples are asked for than the world can give.
 */
export function generateWorld({ seed = 0, trainSize = 32_000, heldOutSize = 600 }: WorldOptions = {}): World {
  const random = new Random(seed)
  const train = random.fork('train')
  const heldOut = random.fork('held-out')
  const examples = shares(trainSize).flatMap((count, i) => drawTrain(SKILLS[i], count, seed, train))
  const kept = spread(
    SKILLS.map(skill => drawHeldOut(skill, MOST_HELD_OUT, seed, heldOut)),
    heldOutSize,
  )
  if (kept.length < heldOutSize) {
    throw new RangeError(
      `Asked for ${heldOutSize} held-out examples, found ${kept.length} with at most ${MOST_HELD_OUT} of a skill. Ask for fewer.`,
    )
  }
  return { train: train.shuffle(examples), heldOut: kept }
}

/** Splits the prompts of a task into those that training may use and those that are kept from it. */
export function splitPrompts(skill: Skill, task: Task, seed: number): { train: string[]; heldOut: string[] } {
  const coin = new Random(hashString(`${seed} ${skill.name} ${task.key}`))
  const all = [...task.prompts]
  if (skill.holdOut === 'content') {
    return coin.uniform() < HELD_OUT_CONTENT ? { train: [], heldOut: all } : { train: all, heldOut: [] }
  }
  const chosen = coin.uniform() < HELD_OUT_WORDING ? coin.integer(all.length) : -1
  return { train: all.filter((_, i) => i !== chosen), heldOut: all.filter((_, i) => i === chosen) }
}

function drawTrain(skill: Skill, count: number, seed: number, random: Random): Example[] {
  const examples: Example[] = []
  while (examples.length < count) {
    const task = skill.draw(random)
    const prompts = splitPrompts(skill, task, seed).train
    if (prompts.length > 0) examples.push(toExample(skill, task, random.choice(prompts)))
  }
  return examples
}

function drawHeldOut(skill: Skill, count: number, seed: number, random: Random): Example[] {
  const byPrompt = new Map<string, Example>()
  for (let idle = 0; byPrompt.size < count && idle < PATIENCE; idle++) {
    const task = skill.draw(random)
    const unused = splitPrompts(skill, task, seed).heldOut.filter(prompt => !byPrompt.has(prompt))
    if (unused.length === 0) continue
    const prompt = random.choice(unused)
    byPrompt.set(prompt, toExample(skill, task, prompt))
    idle = 0
  }
  return [...byPrompt.values()]
}

function toExample(skill: Skill, task: Task, prompt: string): Example {
  return { prompt, completion: ` ${task.answer}`, skill: skill.name }
}

/** `size` divided over the skills by weight; the rounding never loses or adds an example. */
function shares(size: number): number[] {
  const total = SKILLS.reduce((sum, skill) => sum + skill.weight, 0)
  let passed = 0
  let given = 0
  return SKILLS.map(skill => {
    passed += skill.weight
    const upTo = Math.round((size * passed) / total)
    const share = upTo - given
    given = upTo
    return share
  })
}

/** The first of every list, then the second of every list, and so on, up to `size` of them. */
function spread<T>(lists: readonly T[][], size: number): T[] {
  const longest = Math.max(...lists.map(list => list.length))
  const rounds = Array.from({ length: longest }, (_, i) => lists.flatMap(list => list.slice(i, i + 1)))
  return rounds.flat().slice(0, size)
}
