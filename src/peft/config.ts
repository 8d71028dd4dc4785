/** @file PeftConfig: the options of an adapter, and `adapter_config.json` exactly as PEFT writes it. */

import { didYouMean } from '../util/nearest.ts'
import { camelCase, snakeCase } from '../util/spelling.ts'
import { pythonJson } from './python-json.ts'
import { TaskType } from './task-type.ts'

/** The version of PEFT whose files these are. */
export const PEFT_VERSION = '0.21.0'

/** The options that every method has. */
export interface PeftConfigOptions {
  taskType?: TaskType | null
  /** What the adapter was trained on; filled in when a model is wrapped. */
  baseModelNameOrPath?: string | null
  /** The base model's revision on the hub. */
  revision?: string | null
  inferenceMode?: boolean
  autoMapping?: unknown
  peftVersion?: string
}

/** The defaults of a method's options: every option it has, in camelCase. */
export type ConfigDefaults = Readonly<Record<string, unknown>>

const COMMON: ConfigDefaults = {
  taskType: null,
  baseModelNameOrPath: null,
  revision: null,
  inferenceMode: false,
  autoMapping: null,
  peftVersion: PEFT_VERSION,
}

/**
 * The options of an adapter. Options are properties in camelCase; on disk they are in snake_case. A method's class
 * names its type and its defaults; keys of a newer version's file that it does not know are kept and written back.
 */
export abstract class PeftConfig implements PeftConfigOptions {
  /** The method, as it stands in the file: `LORA`. */
  abstract readonly peftType: string
  taskType: TaskType | null = null
  baseModelNameOrPath: string | null = null
  revision: string | null = null
  inferenceMode = false
  autoMapping: unknown = null
  peftVersion = PEFT_VERSION
  /** Keys of the file that this version does not know. */
  unknownKeys: Readonly<Record<string, unknown>> = {}

  /**
   * Reads the configuration of the adapter in a folder or of a hub id, of whatever method it is. Keys that this version
   * does not know are kept in `unknownKeys`, and written back.
   *
   * @throws when there is no adapter, or its configuration cannot be read
   */
  static async fromPretrained(folderOrHubId: string, options: { revision?: string } = {}): Promise<PeftConfig> {
    const { loadPeftConfig } = await import('./load.ts')
    return loadPeftConfig(folderOrHubId, options.revision)
  }

  /** Writes `adapter_config.json` into a folder. */
  async savePretrained(folder: string): Promise<void> {
    const { writeConfig } = await import('./peft-format.ts')
    await writeConfig(folder, this)
  }

  /** Every option of the method with its default. */
  protected abstract defaults(): ConfigDefaults

  /** Fills the properties: given options over defaults. Throws for an option that does not exist. */
  protected assign(options: object): void {
    const defaults = { ...COMMON, ...this.defaults() }
    for (const name of Object.keys(options)) {
      if (name in defaults || name === 'unknownKeys') continue
      throw new Error(
        `${this.constructor.name} has no option "${name}".${didYouMean(name, Object.keys(defaults))} The options are ${Object.keys(defaults).join(', ')}.`,
      )
    }
    const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
    Object.assign(this, structuredClone({ ...defaults, ...given }))
    const { taskType } = this
    if (taskType !== null && !(taskType in TaskType)) {
      throw new Error(
        `${this.constructor.name}: taskType "${taskType}" is not known.${didYouMean(String(taskType), Object.keys(TaskType))} Known: ${Object.keys(TaskType).join(', ')}.`,
      )
    }
  }

  /** A copy with some options replaced. */
  with(options: object): this {
    const copy = Object.assign(Object.create(Object.getPrototypeOf(this)), this) as this
    return Object.assign(copy, structuredClone(options))
  }

  /** The contents of `adapter_config.json`: every key that PEFT writes, in its order. */
  toJSON(): Record<string, unknown> {
    const entries: [string, unknown][] = Object.keys({ ...COMMON, ...this.defaults() }).map(name => [
      snakeCase(name),
      (this as unknown as Record<string, unknown>)[name],
    ])
    entries.push(['peft_type', this.peftType], ...Object.entries(this.unknownKeys))
    return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)))
  }

  /** The text of `adapter_config.json`. */
  toJSONString(): string {
    return pythonJson(this.toJSON(), FLOAT_KEYS)
  }
}

/** Options that Python holds as floating point: a whole number is written as `0.0`, as Python does. */
const FLOAT_KEYS = new Set([
  'beta1',
  'beta2',
  'd_initial',
  'encoder_dropout',
  'lora_dropout',
  'orth_reg_weight',
  'vera_dropout',
])

/**
 * The options in a file's JSON, in camelCase, apart from keys that are not among `known`. Values are left as they are.
 *
 * @throws when the JSON is not an object
 */
export function optionsFromJson(json: unknown, known: ConfigDefaults, label: string): Record<string, unknown> {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw new Error(`${label}: expected a JSON object, got ${Array.isArray(json) ? 'an array' : typeof json}`)
  }
  const names = new Set(Object.keys({ ...COMMON, ...known }))
  const options: Record<string, unknown> = {}
  const unknownKeys: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(json)) {
    if (key === 'peft_type') continue
    const name = camelCase(key)
    if (names.has(name)) options[name] = value
    else unknownKeys[key] = value
  }
  return { ...options, unknownKeys }
}
