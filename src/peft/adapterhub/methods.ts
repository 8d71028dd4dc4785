/** @file The methods whose adapters AdapterHub's files hold, and how their options stand there. */
import type { Parameter } from '../../nn/index.ts'
import { didYouMean } from '../../util/nearest.ts'
import { snakeCase } from '../../util/spelling.ts'
import type { PeftConfig } from '../config.ts'
import type { AdapterContext, TargetOptions } from '../method.ts'
import { PythonFloat } from '../python-json.ts'

/** A JSON object. */
export type HubJson = Readonly<Record<string, unknown>>

/** How a method's adapters stand in AdapterHub's files. */
export interface HubMethod<C extends PeftConfig & TargetOptions = PeftConfig & TargetOptions> {
  readonly peftType: string
  /** Whether the `config` of an `adapter_config.json` is one of this method. */
  recognizes(config: HubJson): boolean
  /** The options in a file's `config`. */
  fromHub(config: HubJson, label: string): C
  /** The file's `config`; numbers that Python holds as floating point are {@link PythonFloat}s. */
  toHub(config: C): HubJson
  /**
   * The parameters under the keys of the file, where they differ from the names that the places of the architecture
   * give. Both maps have keys with the adapter's name in them.
   */
  keys?(adapter: AdapterContext<C>, own: ReadonlyMap<string, Parameter>): Map<string, Parameter>
  /** The key under which a tensor is known that AdapterHub saves under several; the key itself by default. */
  canonicalKey?(key: string, adapter: AdapterContext<C>): string
}

const hubMethods = new Map<string, HubMethod>()

/** Makes a method's form in AdapterHub's files known. */
export function registerHubMethod<C extends PeftConfig & TargetOptions>(method: HubMethod<C>): void {
  if (hubMethods.has(method.peftType)) {
    throw new Error(`The form of "${method.peftType}" in AdapterHub's files is already registered`)
  }
  hubMethods.set(method.peftType, method as unknown as HubMethod)
}

/** The form of a method in AdapterHub's files. Throws for a method that AdapterHub does not have. */
export function hubMethod(peftType: string): HubMethod {
  const method = hubMethods.get(peftType)
  if (method) return method
  throw new Error(
    `AdapterHub's format has no place for adapters of type ${peftType}.${didYouMean(peftType, hubMethods.keys())} It holds ${[...hubMethods.keys()].join(', ')}.`,
  )
}

/** The options in the `config` of an AdapterHub file, of whatever method. Throws for one that is not known. */
export function configFromHub(config: unknown, label: string): PeftConfig & TargetOptions {
  if (typeof config !== 'object' || config === null || Array.isArray(config)) {
    throw new Error(`${label}: "config" must be an object with the adapter's options, got ${JSON.stringify(config)}`)
  }
  const options = config as HubJson
  const method = [...hubMethods.values()].find(candidate => candidate.recognizes(options))
  if (method) return method.fromHub(options, label)
  throw new Error(
    `${label}: adapters with "architecture": ${JSON.stringify(options.architecture)} are not known; known are those of ${[...hubMethods.keys()].join(', ')}`,
  )
}

/** The names of a method's options in AdapterHub's JSON: snake_case, but for the exceptions. */
export function hubOptionNames(
  options: Iterable<string>,
  exceptions: Readonly<Record<string, string>> = {},
): Record<string, string> {
  return Object.fromEntries([...options].map(name => [name, exceptions[name] ?? snakeCase(name)]))
}

/** A `config` as options by their names here; what is not known is kept under `unknownKeys`. */
export function optionsFromHub(
  config: HubJson,
  names: Readonly<Record<string, string>>,
  ignored: readonly string[] = ['architecture'],
): Record<string, unknown> {
  const byKey = new Map(Object.entries(names).map(([name, key]) => [key, name]))
  const options: Record<string, unknown> = {}
  const unknownKeys: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(config)) {
    if (ignored.includes(key)) continue
    const name = byKey.get(key)
    if (name === undefined) unknownKeys[key] = value
    else options[name] = value
  }
  return { ...options, unknownKeys }
}

/** The options of a configuration under AdapterHub's names; those in `floats` are floating point in Python. */
export function hubOptions(
  config: PeftConfig,
  names: Readonly<Record<string, string>>,
  floats: ReadonlySet<string>,
): Record<string, unknown> {
  const values = config as unknown as Record<string, unknown>
  const options: Record<string, unknown> = { ...config.unknownKeys }
  for (const [name, key] of Object.entries(names)) {
    const value = values[name]
    options[key] = typeof value === 'number' && floats.has(name) ? new PythonFloat(value) : value
  }
  return options
}
