/** @file Skills about single words: number, opposite, letters, capitals, quotes. */
import { NAMES, NOUNS, OPPOSITES, plural, WORDS } from '../facts.ts'
import { closedSkill, openSkill, type Skill } from '../task.ts'

function letters(
  name: string,
  weight: number,
  ask: (word: string) => string[],
  answer: (word: string) => string,
): Skill {
  return closedSkill(name, weight, random => {
    const word = random.choice(WORDS)
    return { key: word, prompts: ask(word), answer: answer(word) }
  })
}

const spaced = (word: string): string => [...word].join(' ')
const ADJECTIVES = OPPOSITES.flat()
const PLAIN = ['item', 'count', 'colour', 'size', 'from', 'to', 'for', 'order', 'send', 'wants', 'Order', 'Send']
const WRAPPABLE = [...WORDS, ...NAMES, ...ADJECTIVES, ...PLAIN]

function joined(name: string, sign: string): Skill {
  return openSkill(name, 2, random => {
    const a = random.choice(WRAPPABLE)
    const b = random.uniform() < 0.3 ? String(random.integer(10)) : random.choice(WRAPPABLE)
    const prompts = [`Put a ${name} between ${a} and ${b}.`, `Join ${a} and ${b} by a ${name}.`]
    return { key: `${a} ${b}`, prompts, answer: `${a}${sign}${b}` }
  })
}

export const wordSkills: readonly Skill[] = [
  closedSkill('plural', 1, random => {
    const noun = random.choice(NOUNS)
    const prompts = [`What is the plural of ${noun}?`, `Make ${noun} plural.`, `One ${noun}, but two what?`]
    return { key: noun, prompts, answer: plural(noun) }
  }),
  closedSkill('singular', 1, random => {
    const noun = random.choice(NOUNS)
    const many = plural(noun)
    const prompts = [`What is the singular of ${many}?`, `Make ${many} singular.`, `Two ${many}, but one what?`]
    return { key: noun, prompts, answer: noun }
  }),
  closedSkill('opposite', 1, random => {
    const pair = random.choice(OPPOSITES)
    const side = random.integer(2)
    const word = pair[side]
    const prompts = [`What is the opposite of ${word}?`, `Name the opposite of ${word}.`, `Not ${word}, but what?`]
    return { key: word, prompts, answer: pair[1 - side] }
  }),
  letters(
    'spell',
    1.5,
    word => [`Spell ${word}.`, `How do you spell ${word}?`, `Name the letters of ${word}.`],
    spaced,
  ),
  letters(
    'read',
    1.5,
    word => [`What word is ${spaced(word)}?`, `Read ${spaced(word)}.`, `Join the letters ${spaced(word)}.`],
    word => word,
  ),
  letters(
    'length',
    1,
    word => [`How many letters does ${word} have?`, `Count the letters of ${word}.`, `How long is ${word}?`],
    word => String(word.length),
  ),
  letters(
    'first-letter',
    1,
    word => [
      `What is the first letter of ${word}?`,
      `With which letter does ${word} start?`,
      `How does ${word} begin?`,
    ],
    word => word[0],
  ),
  letters(
    'capitals',
    1.5,
    word => [`Write ${word} in capitals.`, `Shout ${word}.`, `Make ${word} upper case.`],
    word => word.toUpperCase(),
  ),
  letters(
    'small-letters',
    1.5,
    word => [`Write ${word.toUpperCase()} in small letters.`, `Make ${word.toUpperCase()} lower case.`],
    word => word,
  ),
  closedSkill('quote', 2, random => {
    const word = random.choice(WRAPPABLE)
    return {
      key: word,
      prompts: [`Quote ${word}.`, `Put ${word} in quotes.`, `Write ${word} with quotes.`],
      answer: `"${word}"`,
    }
  }),
  closedSkill('braces', 1.5, random => {
    const word = random.choice(WRAPPABLE)
    return { key: word, prompts: [`Put ${word} in braces.`, `Write ${word} with braces.`], answer: `{${word}}` }
  }),
  joined('colon', ':'),
  joined('comma', ','),
]
