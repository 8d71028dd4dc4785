/** @file Typed reading of a config.json: each value is checked, and an error names the file, the key and the way out. */
import { didYouMean } from '../../util/nearest.ts'

/** A JSON object, as it stands on disk. */
export type JsonObject = Record<string, unknown>

/** The activation functions that Transformers knows by name. */
export const ACTIVATIONS = [
  'gelu',
  'gelu_10',
  'gelu_accurate',
  'gelu_fast',
  'gelu_new',
  'gelu_python',
  'gelu_python_tanh',
  'gelu_pytorch_tanh',
  'hardswish',
  'laplace',
  'leaky_relu',
  'linear',
  'mish',
  'prelu',
  'quick_gelu',
  'relu',
  'relu2',
  'relu6',
  'sigmoid',
  'silu',
  'sqrtsoftplus',
  'swish',
  'tanh',
  'xielu',
] as const

/** Whether `value` is a JSON object (not null, not a list). */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A value as an error message shows it: its JSON, shortened, with its kind. */
export function describeValue(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (value === null) return 'null'
  const json = JSON.stringify(value) ?? String(value)
  const short = json.length > 60 ? `${json.slice(0, 57)}...` : json
  return Array.isArray(value) ? `${short} (a list)` : `${short} (${typeof value})`
}

interface Range {
  /** Smallest allowed value, included. */
  min?: number
  /** Largest allowed value, included. */
  max?: number
}

/**
 * Reads the keys of one configuration. An absent key gives the default; a key of the wrong type or out of range is an
 * error. The reader remembers which keys were asked for, so that a mistyped override can be told.
 */
export class ConfigReader {
  /** The object that is read. */
  readonly json: JsonObject
  /** What error messages call it: a file path or any other name. */
  readonly label: string
  /** Every key that was asked for. */
  readonly keys = new Set<string>()
  /** The keys that hold floating-point numbers, which Python wants written with a decimal point. */
  readonly floatKeys = new Set<string>()
  /** Things that are odd and do not prevent loading. */
  readonly warnings: string[] = []

  constructor(json: JsonObject, label: string) {
    this.json = json
    this.label = label
  }

  /** Throws an error about `key`; `expected` completes the sentence "expected ...". */
  fail(key: string, expected: string, wayOut = ''): never {
    throw new TypeError(
      `${this.label}: "${key}" is ${describeValue(this.json[key])}, expected ${expected}.${wayOut ? ` ${wayOut}` : ''}`,
    )
  }

  /** The raw value of `key`, `undefined` when absent. */
  get(key: string): unknown {
    this.keys.add(key)
    return this.json[key]
  }

  /** A whole number of at least `min` (1 unless told). */
  integer(key: string, fallback: number, range: Range = {}): number {
    const value = this.get(key)
    if (value === undefined) return fallback
    const min = range.min ?? 1
    const max = range.max ?? Number.MAX_SAFE_INTEGER
    if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value
    return this.fail(key, `a whole number of at least ${min}${range.max === undefined ? '' : ` and at most ${max}`}`)
  }

  /** As {@link integer}, where the file may also say `null`. */
  optionalInteger(key: string, fallback: number | null, range: Range = {}): number | null {
    const value = this.get(key)
    if (value === undefined) return fallback
    return value === null ? null : this.integer(key, 0, range)
  }

  /** A number within `range`, for which Transformers wants a float. */
  number(key: string, fallback: number, range: Range = {}): number {
    this.floatKeys.add(key)
    return this.real(key, fallback, range)
  }

  /** A number within `range` that may have a fraction, for which Transformers wants an integer all the same. */
  real(key: string, fallback: number, range: Range = {}): number {
    const value = this.get(key)
    if (value === undefined) return fallback
    const { min = -Infinity, max = Infinity } = range
    if (typeof value === 'number' && value >= min && value <= max) return value
    if (min !== -Infinity && max !== Infinity) return this.fail(key, `a number from ${min} to ${max}`)
    return this.fail(key, min === -Infinity ? 'a number' : `a number of at least ${min}`)
  }

  /** As {@link number}, where the file may also say `null`. */
  optionalNumber(key: string, fallback: number | null, range: Range = {}): number | null {
    if (this.get(key) === undefined) return fallback
    return this.json[key] === null ? null : this.number(key, 0, range)
  }

  /** A probability: a number from 0 to 1. */
  probability(key: string, fallback: number): number {
    return this.number(key, fallback, { min: 0, max: 1 })
  }

  boolean(key: string, fallback: boolean): boolean {
    const value = this.get(key)
    if (value === undefined) return fallback
    return typeof value === 'boolean' ? value : this.fail(key, 'true or false')
  }

  optionalString(key: string, fallback: string | null = null): string | null {
    const value = this.get(key)
    if (value === undefined || value === null) return value === undefined ? fallback : null
    return typeof value === 'string' ? value : this.fail(key, 'a string or null')
  }

  /** One of `names`; a mistyped name is answered with the nearest. */
  choice<T extends string>(key: string, fallback: T, names: readonly T[]): T {
    const value = this.get(key)
    if (value === undefined) return fallback
    if (typeof value !== 'string') return this.fail(key, `one of ${names.join(', ')}`)
    if (names.includes(value as T)) return value as T
    return this.fail(key, `one of ${names.join(', ')}`, didYouMean(value, names).trim())
  }

  /** As {@link choice}, where the file may also say `null`. */
  optionalChoice<T extends string>(key: string, names: readonly T[]): T | null {
    const value = this.get(key)
    return value === undefined || value === null ? null : this.choice(key, names[0], names)
  }

  /** The name of an activation function, one of {@link ACTIVATIONS}. */
  activation(key: string, fallback: (typeof ACTIVATIONS)[number]): string {
    return this.choice(key, fallback, ACTIVATIONS)
  }

  /** A list of strings, or `null` when absent or null. */
  optionalStrings(key: string): string[] | null {
    const value = this.get(key)
    if (value === undefined || value === null) return null
    if (Array.isArray(value) && value.every(item => typeof item === 'string')) return [...value]
    return this.fail(key, 'a list of strings or null')
  }

  /** A JSON object, or `null` when absent or null. */
  optionalObject(key: string): JsonObject | null {
    const value = this.get(key)
    if (value === undefined || value === null) return null
    return isJsonObject(value) ? value : this.fail(key, 'an object or null')
  }

  /** Refuses a width that its heads do not divide. */
  divisible(key: string, value: number, byKey: string, by: number): void {
    if (value % by === 0) return
    throw new RangeError(
      `${this.label}: "${key}" is ${value}, which "${byKey}" (${by}) does not divide. ` +
        `Each head takes ${key} / ${byKey} values: change one of the two.`,
    )
  }
}
