/** @file The classes of a classifier in a configuration: num_labels, id2label, label2id and problem_type. */
import { type ConfigReader, describeValue, isJsonObject, type JsonObject } from './reader.ts'

/** What a classifier's loss is made for, as Transformers names it. */
export const PROBLEM_TYPES = ['regression', 'single_label_classification', 'multi_label_classification'] as const

/** One of {@link PROBLEM_TYPES}. */
export type ProblemType = (typeof PROBLEM_TYPES)[number]

/** The classes of a classifier. */
export interface Labels {
  /** The number of classes; the length of `id2label`. */
  readonly num_labels: number
  readonly id2label: Readonly<Record<number, string>>
  readonly label2id: Readonly<Record<string, number>>
  readonly problem_type: ProblemType | null
}

/** Reads the classes as Transformers does: `id2label` decides, else `num_labels`, else two classes. */
export function readLabels(reader: ConfigReader): Labels {
  const declared = reader.optionalInteger('num_labels', null)
  const given = reader.optionalObject('id2label')
  const inverse = reader.optionalObject('label2id')
  const problem_type = reader.optionalChoice('problem_type', PROBLEM_TYPES)

  const id2label = given ? readNames(reader, given) : defaultNames(declared ?? 2)
  const num_labels = Object.keys(id2label).length
  if (given && declared !== null && declared !== num_labels) {
    reader.warnings.push(
      `"num_labels" is ${declared} and "id2label" names ${num_labels} classes; "id2label" was taken.`,
    )
  }
  const label2id = given && inverse ? readIds(reader, inverse) : invert(id2label)
  const strangers = Object.values(id2label).filter(name => !(name in label2id))
  if (strangers.length) {
    reader.warnings.push(`"label2id" lacks ${strangers.map(name => `"${name}"`).join(', ')} of "id2label".`)
  }
  if (problem_type === 'single_label_classification' && num_labels === 1) {
    reader.fail(
      'problem_type',
      'more than one label with it',
      'Use num_labels 2 for two classes, or problem_type "regression" for a single number.',
    )
  }
  return { num_labels, id2label: Object.freeze(id2label), label2id: Object.freeze(label2id), problem_type }
}

/** The values of a configuration that concern its classes, as they may be given anew. */
export interface LabelOverrides {
  num_labels?: number
  /** Names by class number, as an object or as a list. */
  id2label?: Readonly<Record<number, string>> | readonly string[]
  label2id?: Readonly<Record<string, number>>
}

/**
 * The JSON keys to write for new classes: `id2label` and `label2id` that agree with each other. `num_labels` alone
 * names the classes LABEL_0, LABEL_1, ..., unless the number is what it was: then the names stay.
 */
export function labelOverrides(overrides: LabelOverrides, current: Labels, label: string): JsonObject {
  const { num_labels, id2label, label2id } = overrides
  if (num_labels === undefined && id2label === undefined && label2id === undefined) return {}
  if (num_labels !== undefined && !(Number.isInteger(num_labels) && num_labels >= 1)) {
    throw new TypeError(`${label}: num_labels was set to ${describeValue(num_labels)}, expected a whole number >= 1.`)
  }
  const names = id2label
    ? Object.fromEntries(Object.entries(id2label))
    : label2id
      ? Object.fromEntries(Object.entries(label2id).map(([name, id]) => [String(id), name]))
      : num_labels === current.num_labels
        ? { ...current.id2label }
        : defaultNames(num_labels!)
  const count = Object.keys(names).length
  if (num_labels !== undefined && num_labels !== count) {
    throw new RangeError(
      `${label}: num_labels was set to ${num_labels} and ${id2label ? 'id2label' : 'label2id'} names ${count} classes. ` +
        'Give one of the two, or make them agree.',
    )
  }
  const kept = !id2label && !label2id && num_labels === current.num_labels
  return { id2label: names, label2id: label2id ?? (kept ? { ...current.label2id } : invert(names)) }
}

function defaultNames(count: number): Record<number, string> {
  return Object.fromEntries(Array.from({ length: count }, (_, id) => [id, `LABEL_${id}`]))
}

function invert(names: Record<number, string>): Record<string, number> {
  return Object.fromEntries(Object.entries(names).map(([id, name]) => [name, Number(id)]))
}

function readNames(reader: ConfigReader, given: JsonObject): Record<number, string> {
  const entries = Object.entries(given)
  if (!entries.length) reader.fail('id2label', 'at least one class', 'Leave the key out for two classes.')
  for (const [id, name] of entries) {
    if (/^\d+$/.test(id) && typeof name === 'string') continue
    reader.fail('id2label', `class numbers with names, such as {"0": "negative"} (the entry "${id}" is not)`)
  }
  for (let id = 0; id < entries.length; id++) {
    if (String(id) in given) continue
    reader.warnings.push(`"id2label" names ${entries.length} classes and none of them is number ${id}.`)
    break
  }
  return Object.fromEntries(entries.map(([id, name]) => [Number(id), name as string]))
}

function readIds(reader: ConfigReader, given: JsonObject): Record<string, number> {
  return Object.fromEntries(
    Object.entries(given).map(([name, id]) => {
      const number = typeof id === 'string' && /^\d+$/.test(id) ? Number(id) : id
      if (typeof number === 'number' && Number.isInteger(number) && number >= 0) return [name, number]
      return reader.fail('label2id', `names with class numbers (the entry "${name}" is ${describeValue(id)})`)
    }),
  )
}

/** Whether `value` can serve as the names of classes. */
export function isLabelMap(value: unknown): value is LabelOverrides['id2label'] {
  return isJsonObject(value) || Array.isArray(value)
}
