/** @file Skills about the order of days and months. */
import { DAYS, MONTHS } from '../facts.ts'
import { closedSkill, type Skill } from '../task.ts'

function neighbour(name: string, unit: string, names: readonly string[], step: 1 | -1): Skill {
  const side = step === 1 ? 'after' : 'before'
  return closedSkill(name, 0.7, random => {
    const index = random.integer(names.length)
    const from = names[index]
    const prompts = [
      `What ${unit} comes ${side} ${from}?`,
      `Name the ${unit} ${side} ${from}.`,
      `Which ${unit} is ${side} ${from}?`,
    ]
    return { key: from, prompts, answer: names[(index + step + names.length) % names.length] }
  })
}

export const calendarSkills: readonly Skill[] = [
  neighbour('next-day', 'day', DAYS, 1),
  neighbour('previous-day', 'day', DAYS, -1),
  neighbour('next-month', 'month', MONTHS, 1),
  neighbour('previous-month', 'month', MONTHS, -1),
]
