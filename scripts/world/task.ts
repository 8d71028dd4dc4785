/** @file What a skill of the world is: a source of tasks, each of which can be asked in several ways. */
import type { Random } from '../../src/util/random.ts'

/** One instruction and its only right answer, as it stands in the data files. */
export interface Example {
  /** Ends in `.` or `?`; the completion continues it, so the two concatenated are the training text. */
  prompt: string
  /** Starts with a space, so that it begins a token of its own. */
  completion: string
  skill: string
}

/** One thing to be answered, with every way of asking it. */
export interface Task {
  /** What is asked, without the wording: tasks of one skill with equal keys are the same task. */
  key: string
  prompts: readonly string[]
  /** The answer, without the leading space. */
  answer: string
}

/** A named source of tasks. */
export interface Skill {
  name: string
  /** How often the skill is drawn, relative to the others. */
  weight: number
  /**
   * What the held-out set keeps from training: whole tasks under every wording (`content`, for skills that
   * generalise), or single wordings of tasks that training sees in other words (`wording`, for closed facts).
   */
  holdOut: 'content' | 'wording'
  draw(random: Random): Task
}

/** A skill over facts that must be learnt one by one: training sees each, the held-out set asks in other words. */
export function closedSkill(name: string, weight: number, draw: (random: Random) => Task): Skill {
  return { name, weight, holdOut: 'wording', draw }
}

/** A skill that follows a rule: the held-out set asks for cases that training never sees. */
export function openSkill(name: string, weight: number, draw: (random: Random) => Task): Skill {
  return { name, weight, holdOut: 'content', draw }
}
