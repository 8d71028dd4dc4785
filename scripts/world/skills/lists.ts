/** @file Skills about short lists of words: they look at the prompt, not at what the world holds. */
import type { Random } from '../../../src/util/random.ts'
import { NAMES, NUMBER_WORDS, OPPOSITES, WORDS } from '../facts.ts'
import { openSkill, type Skill } from '../task.ts'

const LISTABLE = [...WORDS, ...NAMES, ...OPPOSITES.flat()]

/** Between `least` and `most` different words. */
function list(random: Random, least: number, most: number): string[] {
  const words = new Set<string>()
  const length = least + random.integer(most - least + 1)
  while (words.size < length) words.add(random.choice(LISTABLE))
  return [...words]
}

function overList(name: string, ask: (words: string) => string[], answer: (words: string[]) => string): Skill {
  return openSkill(name, 1.2, random => {
    const words = list(random, 2, 4)
    return { key: words.join(' '), prompts: ask(words.join(' ')), answer: answer(words) }
  })
}

export const listSkills: readonly Skill[] = [
  openSkill('repeat', 1.5, random => {
    const words = list(random, 1, 4).join(' ')
    return { key: words, prompts: [`Repeat ${words}.`, `Say ${words}.`, `Copy ${words}.`], answer: words }
  }),
  overList(
    'first',
    words => [`What is the first word of ${words}?`, `Which word comes first in ${words}?`],
    words => words[0],
  ),
  overList(
    'last',
    words => [`What is the last word of ${words}?`, `Which word comes last in ${words}?`],
    words => words[words.length - 1],
  ),
  overList(
    'how-many',
    words => [`How many words are in ${words}?`, `Count the words ${words}.`],
    words => String(words.length),
  ),
  openSkill('swap', 1.2, random => {
    const [a, b] = list(random, 2, 2)
    return { key: `${a} ${b}`, prompts: [`Swap ${a} and ${b}.`, `Turn around ${a} and ${b}.`], answer: `${b} and ${a}` }
  }),
  openSkill('sort', 2, random => {
    const pair = [random.choice(WORDS), random.choice(WORDS)] as const
    const [a, b] = pair
    const prompts = [`Sort ${a} and ${b}.`, `Put ${a} and ${b} in order.`]
    return { key: `${a} ${b}`, prompts, answer: a < b ? `${a} ${b}` : `${b} ${a}` }
  }),
  openSkill('contains', 1.5, random => {
    const words = list(random, 2, 4)
    const word = random.uniform() < 0.5 ? random.choice(words) : random.choice(LISTABLE)
    const text = words.join(' ')
    const prompts = [`Is ${word} in ${text}?`, `Is ${word} one of ${text}?`]
    return { key: `${word} ${text}`, prompts, answer: words.includes(word) ? 'Yes.' : 'No.' }
  }),
  openSkill('times', 1, random => {
    const word = random.choice(LISTABLE)
    const count = 1 + random.integer(4)
    const times = `${NUMBER_WORDS[count]} ${count === 1 ? 'time' : 'times'}`
    const prompts = [`Say ${word} ${times}.`, `Write ${word} ${times}.`]
    return { key: `${word} ${count}`, prompts, answer: Array<string>(count).fill(word).join(' ') }
  }),
]
