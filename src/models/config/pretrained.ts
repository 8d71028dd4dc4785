/** @file The configuration of a model as an object, and the registry of architectures that can be read. */
import { didYouMean } from '../../util/nearest.ts'
import { type FloatPlaces, placeOf } from './float-places.ts'
import { isLabelMap, type LabelOverrides, type Labels, labelOverrides, type ProblemType, readLabels } from './labels.ts'
import { ConfigReader, describeValue, isJsonObject, type JsonObject } from './reader.ts'
import { readTokenIds, type TokenIds } from './tokens.ts'

/** Reads the fields of one architecture. What it returns becomes the configuration's own properties. */
export type ConfigParser = (reader: ConfigReader) => object

/** What {@link registerConfig} may be told besides the parser. */
export interface ConfigFamilyOptions {
  /** Common names and the architecture's own, such as `{ hidden_size: 'n_embd' }`; both can be read and overridden. */
  readonly attributeMap?: Readonly<Record<string, string>>
}

interface ConfigFamily extends ConfigFamilyOptions {
  readonly parse: ConfigParser
}

const families = new Map<string, ConfigFamily>()

/**
 * Makes configurations with this `model_type` readable. A second registration replaces the first.
 *
 * @example
 * registerConfig('toy', reader => ({ width: reader.integer('width', 16) }))
 */
export function registerConfig(modelType: string, parse: ConfigParser, options: ConfigFamilyOptions = {}): void {
  families.set(modelType, { parse, ...options })
}

/** The `model_type`s that can be read. */
export function registeredConfigs(): string[] {
  return [...families.keys()].sort()
}

/** New values for keys of a configuration; the classes may be given by any of their three keys. */
export interface ConfigOverrides extends LabelOverrides {
  problem_type?: ProblemType | null
  [key: string]: unknown
}

const DTYPES = ['float32', 'float16', 'bfloat16', 'float64', 'float8_e4m3fn', 'float8_e5m2', 'int8', 'uint8'] as const

/** Keys that Transformers writes for every model and that mean nothing here. */
const FOREIGN_KEYS = ['_name_or_path', 'output_attentions', 'output_hidden_states', 'return_dict', 'auto_map']

/**
 * The configuration of a model: the JSON as it was read, and typed fields with the defaults of Transformers filled
 * in. Field names are those of config.json. It is frozen; {@link PretrainedConfig.with} gives a changed copy.
 */
export class PretrainedConfig implements Labels, TokenIds {
  /** The JSON as it was read, overrides included. */
  readonly raw: Readonly<JsonObject>
  /** Where it came from, as error messages say it. */
  readonly label: string
  /** The architecture, such as "llama". */
  readonly model_type: string
  /** The classes of Transformers that the checkpoint was saved from, such as `["LlamaForCausalLM"]`. */
  readonly architectures: readonly string[]
  /** The type of the weights as the file says it, such as "bfloat16"; `null` when it does not. */
  readonly dtype: (typeof DTYPES)[number] | null
  readonly num_labels: number
  readonly id2label: Readonly<Record<number, string>>
  readonly label2id: Readonly<Record<string, number>>
  readonly problem_type: ProblemType | null
  readonly pad_token_id: number | null
  readonly bos_token_id: number | null
  readonly eos_token_id: number | readonly number[] | null
  /** Whether the output layer is the embedding matrix. */
  readonly tie_word_embeddings: boolean
  readonly is_encoder_decoder: boolean
  /** How the weights are quantised, when they are. */
  readonly quantization_config: Readonly<JsonObject> | null
  readonly transformers_version: string | null
  /** What is odd in the file and does not prevent loading; one sentence each. */
  readonly warnings: readonly string[]
  readonly #reader: ConfigReader
  readonly #floats: FloatPlaces

  /** @internal Use {@link AutoConfig}. */
  constructor(raw: JsonObject, reader: ConfigReader, family: ConfigFamily, floats: FloatPlaces) {
    const labels = readLabels(reader)
    const tokens = readTokenIds(reader, { pad_token_id: null, bos_token_id: null, eos_token_id: null })
    this.#reader = reader
    this.#floats = floats
    this.raw = raw
    this.label = reader.label
    this.model_type = reader.get('model_type') as string
    this.architectures = reader.optionalStrings('architectures') ?? []
    this.dtype = readDtype(reader)
    this.num_labels = labels.num_labels
    this.id2label = labels.id2label
    this.label2id = labels.label2id
    this.problem_type = labels.problem_type
    this.pad_token_id = tokens.pad_token_id
    this.bos_token_id = tokens.bos_token_id
    this.eos_token_id = tokens.eos_token_id
    this.tie_word_embeddings = reader.boolean('tie_word_embeddings', true)
    this.is_encoder_decoder = reader.boolean('is_encoder_decoder', false)
    this.quantization_config = reader.optionalObject('quantization_config')
    this.transformers_version = reader.optionalString('transformers_version')
    Object.assign(this, family.parse(reader))
    for (const [name, own] of Object.entries(family.attributeMap ?? {})) {
      Object.defineProperty(this, name, { get: () => Reflect.get(this, own), enumerable: true })
    }
    this.warnings = Object.freeze(reader.warnings)
    Object.freeze(this)
  }

  /** The architecture, such as "llama"; the same as `model_type`. */
  get modelType(): string {
    return this.model_type
  }

  /**
   * A copy with other values, read and checked anew. `num_labels`, `id2label` and `label2id` are kept in agreement.
   *
   * @throws when a key is none that the architecture or the file has, or a value does not fit.
   * @example
   * config.with({ num_labels: 3, hidden_dropout_prob: 0 })
   */
  with(overrides: ConfigOverrides): this {
    const attributeMap = families.get(this.model_type)?.attributeMap ?? {}
    const { num_labels, id2label, label2id, ...rest } = overrides
    if (id2label !== undefined && !isLabelMap(id2label)) {
      throw new TypeError(
        `${this.label}: id2label was set to ${describeValue(id2label)}, expected names by class number.`,
      )
    }
    const changed: JsonObject = { ...canonicalKeys(this.raw, attributeMap) }
    for (const [key, value] of Object.entries(rest)) {
      const known = [...this.#reader.keys, ...Object.keys(this.raw), ...Object.keys(attributeMap), ...FOREIGN_KEYS]
      if (!known.includes(key)) {
        throw new TypeError(
          `${this.label}: "${key}" was to be set, and a configuration of model_type "${this.model_type}" has no such ` +
            `key.${didYouMean(key, known)}`,
        )
      }
      if (value !== undefined) changed[attributeMap[key] ?? key] = value
    }
    const labels = labelOverrides({ num_labels, id2label, label2id }, this, this.label)
    if (Object.keys(labels).length) {
      delete changed.num_labels
      Object.assign(changed, labels)
    }
    return createConfig(changed, this.label, this.#floats) as this
  }

  /** A copy without a key, whether it means anything here or not. */
  without(key: string): this {
    const { [key]: _, ...rest } = this.raw
    return createConfig(rest, this.label, this.#floats) as this
  }

  /** The JSON to save: what was read, with the overrides applied. A copy that may be changed. */
  toJSON(): JsonObject {
    return structuredClone(this.raw)
  }

  /**
   * The text of a config.json as Python writes it: keys sorted, two spaces, and a decimal point in every number that
   * Transformers wants to be a float (it refuses `"initializer_range": 1`), or the file had one in.
   */
  toJSONString(): string {
    return `${writeJson(this.raw, { keys: this.#reader.floatKeys, places: this.#floats })}\n`
  }
}

/** Reads a parsed config.json; `label` names it in error messages, `floats` are the whole numbers that are floats in it. */
export function createConfig(json: unknown, label: string, floats: FloatPlaces = new Set()): PretrainedConfig {
  if (!isJsonObject(json)) {
    throw new TypeError(`${label}: the configuration is ${describeValue(json)}, expected a JSON object.`)
  }
  const modelType = json.model_type
  if (modelType === undefined || typeof modelType !== 'string') {
    throw new TypeError(
      `${label}: "model_type" is ${describeValue(modelType)}, expected the name of an architecture ` +
        `(${registeredConfigs().join(', ')}). Add the key; the model's first publication says which it is.`,
    )
  }
  const family = families.get(modelType)
  if (!family) {
    throw new TypeError(
      `${label}: "model_type" is "${modelType}", an architecture that is not known here. Known: ` +
        `${registeredConfigs().join(', ')}.${didYouMean(modelType, registeredConfigs())} ` +
        'One of your own is added with registerConfig.',
    )
  }
  const raw = structuredClone(json)
  const reader = new ConfigReader(canonicalKeys(raw, family.attributeMap ?? {}), label)
  return new PretrainedConfig(deepFreeze(raw), reader, family, floats)
}

/** The same keys, with common names replaced by the architecture's own; where both are given the common one wins. */
function canonicalKeys(json: Readonly<JsonObject>, attributeMap: Readonly<Record<string, string>>): JsonObject {
  const own = Object.entries(json).filter(([key]) => !(key in attributeMap))
  const mapped = Object.entries(json).filter(([key]) => key in attributeMap)
  return { ...Object.fromEntries(own), ...Object.fromEntries(mapped.map(([key, value]) => [attributeMap[key], value])) }
}

function readDtype(reader: ConfigReader): PretrainedConfig['dtype'] {
  for (const key of ['dtype', 'torch_dtype']) {
    const value = reader.optionalString(key)
    if (value === null) continue
    const name = value.replace(/^torch\./, '')
    const dtype = DTYPES.find(known => known === name)
    return dtype ?? reader.fail(key, `one of ${DTYPES.join(', ')}`, didYouMean(name, DTYPES).trim())
  }
  return null
}

function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value
  for (const item of Object.values(value)) deepFreeze(item)
  return Object.freeze(value)
}

/** Which numbers are floats: all of some keys, and those at some places. */
interface Floats {
  keys: ReadonlySet<string>
  places: FloatPlaces
}

function writeJson(value: unknown, floats: Floats, at: { key?: string; place?: string; indent?: string } = {}): string {
  const { key = '', place = '', indent = '' } = at
  const inner = `${indent}  `
  const written = (item: unknown, name: string | number, own = '') =>
    writeJson(item, floats, { key: own, place: placeOf(place, name), indent: inner })
  if (Array.isArray(value)) {
    if (!value.length) return '[]'
    return `[\n${value.map((item, i) => inner + written(item, i)).join(',\n')}\n${indent}]`
  }
  if (isJsonObject(value)) {
    const keys = Object.keys(value).sort((a, b) => (a < b ? -1 : 1))
    if (!keys.length) return '{}'
    const lines = keys.map(name => `${inner}${JSON.stringify(name)}: ${written(value[name], name, name)}`)
    return `{\n${lines.join(',\n')}\n${indent}}`
  }
  if (typeof value === 'number') return writeNumber(value, floats.keys.has(key) || floats.places.has(place))
  return JSON.stringify(value)
}

/** A number as Python spells it: `1.0`, `1e-06`. */
function writeNumber(value: number, isFloat: boolean): string {
  if (Number.isInteger(value)) return isFloat && Math.abs(value) < 1e16 ? `${value}.0` : String(value)
  const text = Math.abs(value) < 1e-4 ? value.toExponential() : String(value)
  return text.replace(/e([+-])(\d)$/, 'e$10$2')
}
