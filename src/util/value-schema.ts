/** @file What values an option takes: a small part of JSON Schema, as data that is checked here and written to files. */

/** A schema; the keywords mean what they mean in JSON Schema. */
export interface ValueSchema {
  readonly type?: 'string' | 'number' | 'integer' | 'boolean' | 'array' | 'object'
  readonly enum?: readonly unknown[]
  readonly minimum?: number
  readonly exclusiveMinimum?: number
  readonly maximum?: number
  readonly exclusiveMaximum?: number
  readonly minLength?: number
  readonly items?: ValueSchema
  readonly minItems?: number
  readonly uniqueItems?: boolean
  readonly additionalProperties?: ValueSchema
  readonly anyOf?: readonly ValueSchema[]
}

/** What an option takes, for the machine and for people. */
export interface ValueKind {
  readonly schema: ValueSchema
  /** Goes on after "expected": `a whole number from 1 on`. */
  readonly expected: string
}

/** Whether a value is what a schema asks for. Numbers are finite. */
export function fits(value: unknown, schema: ValueSchema): boolean {
  if (schema.anyOf && !schema.anyOf.some(part => fits(value, part))) return false
  if (schema.enum && !schema.enum.includes(value)) return false
  if (schema.type && !isOfType(value, schema.type)) return false
  if (typeof value === 'number') return isWithin(value, schema)
  if (typeof value === 'string') return value.length >= (schema.minLength ?? 0)
  if (Array.isArray(value)) return fitsList(value, schema)
  const { additionalProperties: each } = schema
  return each === undefined || typeof value !== 'object' || Object.values(value!).every(part => fits(part, each))
}

function isOfType(value: unknown, type: NonNullable<ValueSchema['type']>): boolean {
  if (type === 'integer') return Number.isSafeInteger(value)
  if (type === 'number') return Number.isFinite(value)
  if (type === 'array') return Array.isArray(value)
  if (type === 'object') return typeof value === 'object' && value !== null && !Array.isArray(value)
  return typeof value === type
}

function isWithin(value: number, { minimum, exclusiveMinimum, maximum, exclusiveMaximum }: ValueSchema): boolean {
  return (
    Number.isFinite(value) &&
    value >= (minimum ?? value) &&
    value <= (maximum ?? value) &&
    !(exclusiveMinimum !== undefined && value <= exclusiveMinimum) &&
    !(exclusiveMaximum !== undefined && value >= exclusiveMaximum)
  )
}

function fitsList(values: readonly unknown[], { items, minItems = 0, uniqueItems }: ValueSchema): boolean {
  if (values.length < minItems || (uniqueItems && new Set(values).size < values.length)) return false
  return items === undefined || values.every(value => fits(value, items))
}
