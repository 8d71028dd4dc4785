/** @file The closed world itself: its people, places and things, and what is true of them. Fixed, not seeded. */

/** A person of the world. Town, pet and job belong to one person only, so each can be asked backwards. */
export interface Person {
  name: string
  town: string
  pet: string
  job: string
  colour: string
}

/** Everyone who lives in the world. */
export const PEOPLE: readonly Person[] = [
  { name: 'Mira', town: 'Oakham', pet: 'cat', job: 'baker', colour: 'red' },
  { name: 'Tom', town: 'Ferndale', pet: 'dog', job: 'farmer', colour: 'blue' },
  { name: 'Ada', town: 'Westport', pet: 'owl', job: 'teacher', colour: 'green' },
  { name: 'Ben', town: 'Stonefield', pet: 'goat', job: 'miller', colour: 'yellow' },
  { name: 'Lena', town: 'Redhill', pet: 'hen', job: 'doctor', colour: 'black' },
  { name: 'Omar', town: 'Lakeside', pet: 'frog', job: 'sailor', colour: 'white' },
  { name: 'Nina', town: 'Ashford', pet: 'fox', job: 'painter', colour: 'brown' },
  { name: 'Paul', town: 'Millbrook', pet: 'horse', job: 'smith', colour: 'pink' },
  { name: 'Rosa', town: 'Eastwick', pet: 'duck', job: 'singer', colour: 'blue' },
  { name: 'Hugo', town: 'Northgate', pet: 'pig', job: 'cook', colour: 'green' },
  { name: 'Vera', town: 'Brightwell', pet: 'cow', job: 'weaver', colour: 'red' },
  { name: 'Jonas', town: 'Elmstead', pet: 'bee', job: 'guard', colour: 'yellow' },
]

/** What each animal says and on how many legs it stands. */
export const ANIMALS: Readonly<Record<string, { sound: string; legs: number }>> = {
  cat: { sound: 'meow', legs: 4 },
  dog: { sound: 'woof', legs: 4 },
  owl: { sound: 'hoot', legs: 2 },
  goat: { sound: 'baa', legs: 4 },
  hen: { sound: 'cluck', legs: 2 },
  frog: { sound: 'croak', legs: 4 },
  fox: { sound: 'yip', legs: 4 },
  horse: { sound: 'neigh', legs: 4 },
  duck: { sound: 'quack', legs: 2 },
  pig: { sound: 'oink', legs: 4 },
  cow: { sound: 'moo', legs: 4 },
  bee: { sound: 'buzz', legs: 6 },
}

/** The colour of each fruit. */
export const FRUITS: Readonly<Record<string, string>> = {
  apple: 'red',
  pear: 'green',
  plum: 'blue',
  cherry: 'red',
  lemon: 'yellow',
  melon: 'green',
  peach: 'pink',
  date: 'brown',
}

export const COLOURS = ['red', 'blue', 'green', 'yellow', 'black', 'white', 'brown', 'pink'] as const

export const THINGS = [
  ...['lamp', 'chair', 'table', 'book', 'cup', 'spoon', 'box', 'ball'],
  ...['bell', 'coat', 'hat', 'key', 'pen', 'ring', 'rope', 'drum'],
] as const

export const DAYS = ['Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday'] as const

export const MONTHS = [
  ...['January', 'February', 'March', 'April', 'May', 'June'],
  ...['July', 'August', 'September', 'October', 'November', 'December'],
] as const

/** The words for 0 to 20, at their own index. */
export const NUMBER_WORDS = [
  ...['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten'],
  ...['eleven', 'twelve', 'thirteen', 'fourteen', 'fifteen', 'sixteen', 'seventeen', 'eighteen', 'nineteen', 'twenty'],
] as const

/** Pairs of opposites; each is asked in both directions. */
export const OPPOSITES: readonly (readonly [string, string])[] = [
  ['hot', 'cold'],
  ['big', 'small'],
  ['up', 'down'],
  ['old', 'new'],
  ['fast', 'slow'],
  ['wet', 'dry'],
  ['full', 'empty'],
  ['high', 'low'],
  ['hard', 'soft'],
  ['open', 'shut'],
  ['day', 'night'],
  ['left', 'right'],
  ['good', 'bad'],
  ['near', 'far'],
  ['loud', 'quiet'],
  ['rich', 'poor'],
]

/** The common lower-case words of the world, which the list and letter skills work on. */
export const WORDS: readonly string[] = [...COLOURS, ...Object.keys(ANIMALS), ...Object.keys(FRUITS), ...THINGS]

export const NAMES: readonly string[] = PEOPLE.map(person => person.name)

/** The nouns that can be counted. */
export const NOUNS: readonly string[] = [...Object.keys(ANIMALS), ...Object.keys(FRUITS), ...THINGS]

const IRREGULAR_PLURALS: Readonly<Record<string, string>> = { box: 'boxes', fox: 'foxes', peach: 'peaches' }

/** The plural of a noun of the world. */
export function plural(noun: string): string {
  return IRREGULAR_PLURALS[noun] ?? (noun.endsWith('rry') ? `${noun.slice(0, -1)}ies` : `${noun}s`)
}

/** `noun` behind its indefinite article. */
export function withArticle(noun: string): string {
  return `${'aeiou'.includes(noun[0]) ? 'an' : 'a'} ${noun}`
}
