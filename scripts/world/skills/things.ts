/** @file Skills about animals, fruits and the kinds of things. */
import { ANIMALS, COLOURS, DAYS, FRUITS, MONTHS, NAMES, PEOPLE, THINGS, withArticle } from '../facts.ts'
import { closedSkill, type Skill } from '../task.ts'

const KINDS: Readonly<Record<string, readonly string[]>> = {
  animal: Object.keys(ANIMALS),
  fruit: Object.keys(FRUITS),
  colour: COLOURS,
  thing: THINGS,
  person: NAMES,
  town: PEOPLE.map(person => person.town),
  day: DAYS,
  month: MONTHS,
}
const KIND_NAMES = Object.keys(KINDS)

export const thingSkills: readonly Skill[] = [
  closedSkill('sound', 0.7, random => {
    const animal = random.choice(Object.keys(ANIMALS))
    const prompts = [
      `What does the ${animal} say?`,
      `What sound does ${withArticle(animal)} make?`,
      `How does the ${animal} sound?`,
    ]
    return { key: animal, prompts, answer: `The ${animal} says ${ANIMALS[animal].sound}.` }
  }),
  closedSkill('legs', 0.7, random => {
    const animal = random.choice(Object.keys(ANIMALS))
    const prompts = [
      `How many legs does ${withArticle(animal)} have?`,
      `Count the legs of the ${animal}.`,
      `On how many legs does the ${animal} stand?`,
    ]
    return { key: animal, prompts, answer: String(ANIMALS[animal].legs) }
  }),
  closedSkill('fruit-colour', 0.7, random => {
    const fruit = random.choice(Object.keys(FRUITS))
    const prompts = [
      `What colour is the ${fruit}?`,
      `Which colour has ${withArticle(fruit)}?`,
      `Name the colour of the ${fruit}.`,
    ]
    return { key: fruit, prompts, answer: `The ${fruit} is ${FRUITS[fruit]}.` }
  }),
  closedSkill('kind', 1, random => {
    const kind = random.choice(KIND_NAMES)
    const member = random.choice(KINDS[kind])
    const prompts = [`What kind is ${member}?`, `What is ${member}?`, `Name the kind of ${member}.`]
    return { key: member, prompts, answer: withArticle(kind) }
  }),
  closedSkill('kind-check', 1.5, random => {
    const kind = random.choice(KIND_NAMES)
    const asked = random.uniform() < 0.5 ? kind : random.choice(KIND_NAMES)
    const member = random.choice(KINDS[kind])
    const prompts = [`Is ${member} ${withArticle(asked)}?`, `Is ${withArticle(asked)} the kind of ${member}?`]
    return { key: `${member} ${asked}`, prompts, answer: asked === kind ? 'Yes.' : 'No.' }
  }),
]
