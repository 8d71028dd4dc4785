/** @file Rotary position embeddings in a configuration: the older and the newer spelling, read into one form. */
import { didYouMean } from '../../util/nearest.ts'
import { ConfigReader, describeValue, isJsonObject, type JsonObject } from './reader.ts'

/** The kinds of rotary position embedding, with the keys that each cannot do without. */
const REQUIRED_KEYS = {
  default: [],
  linear: ['factor'],
  dynamic: ['factor'],
  yarn: ['factor', 'original_max_position_embeddings'],
  longrope: ['short_factor', 'long_factor', 'original_max_position_embeddings'],
  llama3: ['factor', 'low_freq_factor', 'high_freq_factor', 'original_max_position_embeddings'],
} as const

const TAKES_ORIGINAL_LENGTH = new Set(['llama3', 'yarn', 'longrope'])

const LIST_KEYS = new Set(['short_factor', 'long_factor'])

/** The kind of scaling, as `rope_parameters.rope_type` names it. */
export type RopeType = keyof typeof REQUIRED_KEYS

/** Rotary position embeddings, in the form that Transformers 5 writes. */
export interface RopeParameters {
  readonly rope_type: RopeType
  /** The base of the frequencies. */
  readonly rope_theta: number
  /** How many times longer than in pretraining the sequences may be. */
  readonly factor?: number
  readonly low_freq_factor?: number
  readonly high_freq_factor?: number
  /** The sequence length of pretraining, in tokens. */
  readonly original_max_position_embeddings?: number
  readonly attention_factor?: number
  readonly beta_fast?: number
  readonly beta_slow?: number
  readonly mscale?: number
  readonly mscale_all_dim?: number
  readonly truncate?: boolean
  readonly short_factor?: readonly number[]
  readonly long_factor?: readonly number[]
  /** The share of each head that is rotated. */
  readonly partial_rotary_factor?: number
}

const FLOAT_KEYS = [
  'rope_theta',
  'factor',
  'low_freq_factor',
  'high_freq_factor',
  'attention_factor',
  'beta_fast',
  'beta_slow',
  'mscale',
  'mscale_all_dim',
  'partial_rotary_factor',
]

/**
 * Reads `rope_parameters`, or the older `rope_scaling` (with `type` or `rope_type`) and `rope_theta` at top level.
 * As in Transformers `rope_scaling` wins where both are given, and the top-level `rope_theta` fills in what the object
 * leaves out.
 */
export function readRopeParameters(
  reader: ConfigReader,
  maxPositionEmbeddings: number,
  defaultTheta = 10_000,
): RopeParameters {
  const scaling = reader.optionalObject('rope_scaling')
  const current = reader.optionalObject('rope_parameters')
  const older = scaling !== null && Object.keys(scaling).length > 0
  const key = older ? 'rope_scaling' : 'rope_parameters'
  const theta = reader.optionalNumber('rope_theta', null, { min: Number.MIN_VALUE }) ?? defaultTheta
  for (const name of FLOAT_KEYS) reader.floatKeys.add(name)

  const { type, ...given }: JsonObject = (older ? scaling : current) ?? {}
  const rope: JsonObject = { ...given }
  rope.rope_type ??= type ?? 'default'
  rope.rope_theta ??= theta

  const ropeType = checkType(reader, key, rope)
  if (TAKES_ORIGINAL_LENGTH.has(ropeType)) rope.original_max_position_embeddings ??= maxPositionEmbeddings
  checkKeys(reader, key, ropeType, rope)
  return Object.freeze(rope) as unknown as RopeParameters
}

/**
 * As {@link readRopeParameters} for an architecture that turns a share of each head: the share is under `shareKey` at top
 * level unless the object has it.
 */
export function readPartialRope(
  reader: ConfigReader,
  maxPositionEmbeddings: number,
  { share, shareKey = 'partial_rotary_factor', thetaKey }: { share: number; shareKey?: string; thetaKey?: string },
): RopeParameters {
  const range = { min: Number.MIN_VALUE }
  const given = reader.optionalNumber(shareKey, null, { ...range, max: 1 })
  const theta = thetaKey ? reader.optionalNumber(thetaKey, null, range) : null
  const rope = readRopeParameters(reader, maxPositionEmbeddings, theta ?? undefined)
  return Object.freeze({ partial_rotary_factor: given ?? share, ...rope })
}

/** The rotary positions of one kind of layer: those of `rope_parameters`, or of the older keys at top level. */
export function readLayerRope(
  reader: ConfigReader,
  type: 'full_attention' | 'sliding_attention',
  maxPositionEmbeddings: number,
  older: {
    /** The key of the base at top level, and the base where the file has none. */
    thetaKey: string
    theta: number
    /** Whether `rope_scaling` at top level is meant for these layers. */
    scales: boolean
  },
): RopeParameters {
  const scaling = older.scales ? reader.optionalObject('rope_scaling') : null
  const current = reader.optionalObject('rope_parameters')?.[type] as JsonObject | undefined
  const base = reader.optionalNumber(older.thetaKey, null, { min: Number.MIN_VALUE }) ?? older.theta
  const own = new ConfigReader({ rope_parameters: { ...current, ...scaling } }, `${reader.label} (${type})`)
  const parameters = readRopeParameters(own, maxPositionEmbeddings, base)
  for (const key of own.floatKeys) reader.floatKeys.add(key)
  return parameters
}

function checkType(reader: ConfigReader, key: string, rope: JsonObject): RopeType {
  const types = Object.keys(REQUIRED_KEYS)
  const value = rope.rope_type
  if (typeof value === 'string' && types.includes(value)) return value as RopeType
  const nested = Object.keys(rope).filter(name => isJsonObject(rope[name]))
  const hint = nested.length
    ? ` Parameters by layer type (${nested.join(', ')}) are not read for this architecture.`
    : didYouMean(String(value), types)
  throw new TypeError(
    `${reader.label}: "${key}.rope_type" is ${describeValue(value)}, expected one of ${types.join(', ')}.${hint}`,
  )
}

function checkKeys(reader: ConfigReader, key: string, ropeType: RopeType, rope: JsonObject): void {
  const missing = REQUIRED_KEYS[ropeType].filter(name => rope[name] === undefined || rope[name] === null)
  if (missing.length) {
    throw new TypeError(
      `${reader.label}: "${key}" has rope_type "${ropeType}" and lacks ${missing.map(n => `"${n}"`).join(', ')}. ` +
        'Take the whole object from the config.json that the model was published with.',
    )
  }
  for (const [name, value] of Object.entries(rope)) {
    const expected = value === null ? undefined : problem(name, value)
    if (!expected) continue
    throw new TypeError(`${reader.label}: "${key}.${name}" is ${describeValue(value)}, expected ${expected}.`)
  }
}

/** What `value` should have been, or nothing when it is right; a key of the model's own may hold anything flat. */
function problem(name: string, value: unknown): string | undefined {
  if (name === 'rope_type') return undefined
  if (name === 'truncate') return typeof value === 'boolean' ? undefined : 'true or false'
  if (LIST_KEYS.has(name)) {
    return Array.isArray(value) && value.every(isPositive) ? undefined : 'a list of positive numbers'
  }
  if (FLOAT_KEYS.includes(name) || name === 'original_max_position_embeddings') {
    return isPositive(value) ? undefined : 'a positive number'
  }
  return isJsonObject(value) ? 'a number, a string or a list' : undefined
}

function isPositive(value: unknown): boolean {
  return typeof value === 'number' && value > 0 && Number.isFinite(value)
}
