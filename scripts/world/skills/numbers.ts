/** @file Skills about small numbers. */
import { NUMBER_WORDS } from '../facts.ts'
import { closedSkill, openSkill, type Skill } from '../task.ts'

export const numberSkills: readonly Skill[] = [
  closedSkill('add', 2, random => {
    const [a, b] = [random.integer(11), random.integer(11)]
    const prompts = [`What is ${a} plus ${b}?`, `Add ${a} and ${b}.`, `How much is ${a} and ${b}?`]
    return { key: `${a} ${b}`, prompts, answer: String(a + b) }
  }),
  closedSkill('subtract', 2, random => {
    const a = random.integer(21)
    const b = random.integer(Math.min(a, 10) + 1)
    const prompts = [`What is ${a} minus ${b}?`, `Take ${b} from ${a}.`, `How much is ${a} less ${b}?`]
    return { key: `${a} ${b}`, prompts, answer: String(a - b) }
  }),
  closedSkill('next-number', 1, random => {
    const n = random.integer(50)
    const prompts = [`What number comes after ${n}?`, `Name the number after ${n}.`, `Which number follows ${n}?`]
    return { key: `${n}`, prompts, answer: String(n + 1) }
  }),
  closedSkill('previous-number', 1, random => {
    const n = 1 + random.integer(50)
    const prompts = [`What number comes before ${n}?`, `Name the number before ${n}.`, `Which number leads to ${n}?`]
    return { key: `${n}`, prompts, answer: String(n - 1) }
  }),
  openSkill('larger', 1.5, random => {
    const a = random.integer(50)
    const b = (a + 1 + random.integer(49)) % 50
    const prompts = [`Which is larger, ${a} or ${b}?`, `Name the larger of ${a} and ${b}.`]
    return { key: `${a} ${b}`, prompts, answer: String(Math.max(a, b)) }
  }),
  openSkill('smaller', 1.5, random => {
    const a = random.integer(50)
    const b = (a + 1 + random.integer(49)) % 50
    const prompts = [`Which is smaller, ${a} or ${b}?`, `Name the smaller of ${a} and ${b}.`]
    return { key: `${a} ${b}`, prompts, answer: String(Math.min(a, b)) }
  }),
  closedSkill('digits', 1, random => {
    const n = random.integer(NUMBER_WORDS.length)
    const word = NUMBER_WORDS[n]
    const prompts = [`Write ${word} in digits.`, `What number is ${word}?`, `Turn ${word} into a number.`]
    return { key: word, prompts, answer: String(n) }
  }),
  closedSkill('number-word', 1, random => {
    const n = random.integer(NUMBER_WORDS.length)
    const prompts = [`Write ${n} as a word.`, `What word is ${n}?`, `Turn ${n} into a word.`]
    return { key: `${n}`, prompts, answer: NUMBER_WORDS[n] }
  }),
]
