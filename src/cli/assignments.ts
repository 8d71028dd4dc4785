/** @file `--set key=value`: options of a method under PEFT's names. */
import { type AnyPeftConfig, getPeftConfig, type TaskType } from '../peft/index.ts'
import { didYouMean } from '../util/nearest.ts'
import { snakeCase } from '../util/spelling.ts'
import { UsageError } from './exit.ts'
import { namedMethods } from './methods.ts'

/** Options that are lists of names or numbers; a single plain word stands for a list of one. */
const LISTS = ['target_modules', 'exclude_modules', 'modules_to_save', 'layers_to_transform', 'layers_pattern']

/** Options that the command itself decides. */
const OWN = ['peft_type', 'task_type', 'base_model_name_or_path', 'inference_mode', 'auto_mapping', 'peft_version']

/**
 * Reads `key=value` pairs. A value is JSON where it is valid JSON (`8`, `0.1`, `true`, `["query"]`), a list where it has
 * commas, else text.
 *
 * @throws {UsageError} for a pair without `=`, and for a key that is given twice
 */
export function parseAssignments(pairs: readonly string[]): Record<string, unknown> {
  const result: Record<string, unknown> = {}
  for (const pair of pairs) {
    const [key, text] = splitPair(pair)
    if (Object.hasOwn(result, key)) throw new UsageError(`--set ${key} was given twice`)
    result[key] = parseValue(key, text)
  }
  return result
}

/** The two sides of `key=value`, the key in PEFT's spelling. */
export function splitPair(pair: string): [key: string, text: string] {
  const at = pair.indexOf('=')
  if (at < 1) throw new UsageError(`--set takes key=value, got "${pair}"; for example --set r=8`)
  return [snakeCase(pair.slice(0, at).trim()), pair.slice(at + 1).trim()]
}

/** The value that a text stands for. */
export function parseValue(key: string, text: string): unknown {
  const value = jsonOrText(text)
  if (typeof value !== 'string') return LISTS.includes(key) && typeof value === 'number' ? [value] : value
  if (/^[\w.\s-]+(,[\w.\s-]+)+$/.test(value)) return value.split(',').map(part => jsonOrText(part.trim()))
  const isName = LISTS.includes(key) && /^[\w.]+$/.test(value)
  return isName ? [value] : value
}

function jsonOrText(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // Python's spelling of the constants is what PEFT's users know.
    const constants: Record<string, unknown> = { True: true, False: false, None: null }
    return Object.hasOwn(constants, text) ? constants[text] : text
  }
}

/** The options of a method, in PEFT's names; none of one that changes the model's own parameters. */
export function methodOptionNames(method: string): string[] {
  return Object.keys(namedMethods().get(method)?.options ?? {}).filter(key => !OWN.includes(key))
}

/**
 * The configuration of a method with the options of `--set`.
 *
 * @throws {UsageError} for a key that the method does not have, naming the nearest, and for a value that does not fit
 */
export function methodConfig(method: string, taskType: TaskType | null, pairs: readonly string[]): AnyPeftConfig {
  const given = parseAssignments(pairs)
  const { peftType: peft_type, options } = namedMethods().get(method)!
  const known = methodOptionNames(method)
  for (const key of Object.keys(given)) {
    if (known.includes(key)) continue
    throw new UsageError(`--set ${key}: the method "${method}" has no such option.${didYouMean(key, known)}`)
  }
  try {
    return getPeftConfig({ peft_type, task_type: taskType, ...options, ...given }, '--set')
  } catch (cause) {
    throw new UsageError(`--set: ${snakeCaseOptions((cause as Error).message)}`, { cause })
  }
}

/** Messages of configurations name options in camelCase; `--set` takes PEFT's names. */
function snakeCaseOptions(message: string): string {
  return message.replace(/\b[a-z]+(?:[A-Z][a-z]*)+\b/g, snakeCase)
}
