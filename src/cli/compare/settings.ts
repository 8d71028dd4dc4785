/** @file What one method is trained with in a comparison. */

import { getPeftMethod } from '../../peft/index.ts'
import { snakeCase } from '../../util/spelling.ts'
import { parseAssignments } from '../assignments.ts'
import { UsageError } from '../exit.ts'
import { namedMethods } from '../methods.ts'
import { checkMethod, defaultLearningRate, methodNames } from '../tuning.ts'

/** One method with its options. */
export interface MethodSettings {
  method: string
  learningRate: number
  /** How long the trainings are that look for a better rate; none where the user gave one. */
  searchSteps?: number
  /** Options of the method as `--set` takes them. */
  set: readonly string[]
}

/** What `--methods`, `--rate` and `--set` say. */
export interface MethodChoice {
  methods?: readonly string[]
  /** `lora=2e-3` */
  rate: readonly string[]
  /** `lora.r=8` */
  set: readonly string[]
  /** Steps of each training that looks for a rate; 0 for none. */
  search: number
}

/**
 * The methods of a comparison with what they are trained with: what each method recommends, and what the user says
 * instead.
 *
 * @param isClassifier whether there is a head, so that training it alone is a method too
 * @throws {UsageError} for a method that does not exist
 */
export function methodSettings({ methods, rate, set, search }: MethodChoice, isClassifier: boolean): MethodSettings[] {
  const all = methodNames().filter(name => name !== 'head' || isClassifier)
  const chosen = methods ?? all
  const rates = new Map(rate.map(pair => splitPair(pair, '=', '--rate takes method=rate, such as lora=2e-3')))
  const options = set.map(pair => splitPair(pair, '.', '--set takes method.option=value, such as lora.r=8'))
  for (const name of [...rates.keys(), ...options.map(([name]) => name)]) {
    if (!chosen.includes(name))
      throw new UsageError(`"${name}" is not among the compared methods: ${chosen.join(', ')}`)
  }
  return chosen.map(method => {
    const own = options.filter(([name]) => name === method).map(([, pair]) => pair)
    const given = rates.get(method)
    const settings = {
      method,
      learningRate: learningRateOf(method, given),
      ...(given === undefined && search > 0 && { searchSteps: search }),
      set: [...recommendedSet(method, own), ...own],
    }
    checkMethod(method, settings.set)
    return settings
  })
}

function splitPair(pair: string, at: string, usage: string): [string, string] {
  const position = pair.indexOf(at)
  if (position < 1) throw new UsageError(`${usage}; got "${pair}"`)
  return [pair.slice(0, position), pair.slice(position + 1)]
}

function learningRateOf(method: string, given: string | undefined): number {
  if (given === undefined) return defaultLearningRate(method)
  const rate = Number(given)
  if (!(rate > 0)) throw new UsageError(`--rate ${method}=${given}: a rate is a number above 0`)
  return rate
}

/** What the method recommends, apart from what the user has said. */
function recommendedSet(method: string, own: readonly string[]): string[] {
  const named = namedMethods().get(method)
  if (!named) return []
  const { options = {} } = getPeftMethod(named.peftType).about.recommended
  const plain = namedMethods().get(named.peftType.toLowerCase())?.options ?? {}
  const said = Object.keys(parseAssignments(own))
  return (
    Object.entries(options)
      .map(([name, value]) => [snakeCase(name), JSON.stringify(value)])
      // What makes a preset what it is stays.
      .filter(([name]) => !said.includes(name) && JSON.stringify(named.options[name]) === JSON.stringify(plain[name]))
      .map(([name, value]) => `${name}=${value}`)
  )
}
