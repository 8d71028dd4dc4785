/** @file Skills about the people of the world: where they live, what they do, own and like. */
import { NAMES, PEOPLE, type Person, withArticle } from '../facts.ts'
import { closedSkill, type Skill } from '../task.ts'

function about(name: string, ask: (person: Person) => string[], answer: (person: Person) => string): Skill {
  return closedSkill(name, 1, random => {
    const person = random.choice(PEOPLE)
    return { key: person.name, prompts: ask(person), answer: answer(person) }
  })
}

function yesOrNo(
  name: string,
  values: readonly string[],
  truth: (person: Person) => string,
  ask: (person: Person, value: string) => string[],
): Skill {
  return closedSkill(name, 1.5, random => {
    const person = random.choice(PEOPLE)
    const value = random.uniform() < 0.5 ? truth(person) : random.choice(values)
    const answer = value === truth(person) ? 'Yes.' : 'No.'
    return { key: `${person.name} ${value}`, prompts: ask(person, value), answer }
  })
}

export const peopleSkills: readonly Skill[] = [
  about(
    'home',
    ({ name }) => [`Where does ${name} live?`, `In which town does ${name} live?`, `Where is the home of ${name}?`],
    ({ name, town }) => `${name} lives in ${town}.`,
  ),
  about(
    'resident',
    ({ town }) => [`Who lives in ${town}?`, `Whose home is in ${town}?`, `Who comes from ${town}?`],
    ({ name, town }) => `${name} lives in ${town}.`,
  ),
  about(
    'pet',
    ({ name }) => [`What pet does ${name} have?`, `Which animal does ${name} keep?`, `What is the pet of ${name}?`],
    ({ name, pet }) => `${name} has ${withArticle(pet)}.`,
  ),
  about(
    'owner',
    ({ pet }) => [`Who has the ${pet}?`, `Who keeps ${withArticle(pet)}?`, `Whose pet is the ${pet}?`],
    ({ name, pet }) => `${name} has ${withArticle(pet)}.`,
  ),
  about(
    'job',
    ({ name }) => [`What is the job of ${name}?`, `What does ${name} do?`, `What work does ${name} do?`],
    ({ name, job }) => `${name} is ${withArticle(job)}.`,
  ),
  about(
    'worker',
    ({ job }) => [`Who is the ${job}?`, `Who works as ${withArticle(job)}?`, `Name the ${job}.`],
    ({ name, job }) => `${name} is ${withArticle(job)}.`,
  ),
  about(
    'liking',
    ({ name }) => [
      `What colour does ${name} like?`,
      `Which colour does ${name} love?`,
      `Name the colour ${name} likes.`,
    ],
    ({ name, colour }) => `${name} likes ${colour}.`,
  ),
  yesOrNo(
    'home-check',
    PEOPLE.map(person => person.town),
    person => person.town,
    ({ name }, town) => [
      `Does ${name} live in ${town}?`,
      `Is ${town} the home of ${name}?`,
      `Is ${name} from ${town}?`,
    ],
  ),
  yesOrNo(
    'pet-check',
    PEOPLE.map(person => person.pet),
    person => person.pet,
    ({ name }, pet) => [`Does ${name} have ${withArticle(pet)}?`, `Is the ${pet} with ${name}?`],
  ),
  closedSkill('greeting', 0.5, random => {
    const name = random.choice(NAMES)
    return { key: name, prompts: [`Greet ${name}.`, `Say hello to ${name}.`], answer: `Hello, ${name}!` }
  }),
]
