/** @file Checking what a request holds: fields that are known, and values that fit. */
import type { z } from 'zod'
import { didYouMean } from '../util/nearest.ts'
import { badRequest } from './errors.ts'

/** What fields of a request mean besides those that are read. */
export interface OtherFields {
  /** Fields that change nothing of the answer. */
  ignored: readonly string[]
  /** Fields that the interface defines and that are not offered, with the values that ask for nothing. */
  unsupported: Readonly<Record<string, readonly unknown[]>>
}

type Fields = Record<string, unknown>

/**
 * The fields that are read, checked. Fields that are null count as left out.
 *
 * @param where in front of field names in messages, such as `messages[0].`
 * @throws ApiError 400 for a field that is unknown, not supported, or does not fit
 */
export function readFields<T extends z.ZodRawShape>(
  value: unknown,
  schema: z.ZodObject<T>,
  { ignored, unsupported }: OtherFields,
  where = '',
): z.infer<z.ZodObject<T>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    const what = where ? where.replace(/\.$/, '') : 'The body'
    throw badRequest(
      `${what} is ${Array.isArray(value) ? 'a list' : typeOf(value)}, expected a JSON object.`,
      where ? what : undefined,
    )
  }
  const known = Object.keys(schema.shape)
  const read: Fields = {}
  for (const [name, field] of Object.entries(value as Fields)) {
    if (field === null || ignored.includes(name)) continue
    if (known.includes(name)) read[name] = field
    else if (Object.hasOwn(unsupported, name)) refuseUnsupported(`${where}${name}`, field, unsupported[name])
    else {
      throw badRequest(
        `Unknown parameter: '${where}${name}'.${didYouMean(name, [...known, ...ignored])} Leave it out.`,
        `${where}${name}`,
        'unknown_parameter',
      )
    }
  }
  const result = schema.safeParse(read)
  if (result.success) return result.data
  const { path, message } = deepest(result.error.issues[0])
  const name = where + nameOf(path)
  throw badRequest(`Invalid '${name}': ${message}${valueAt(read, path)}.`, name, 'invalid_value')
}

function refuseUnsupported(name: string, value: unknown, neutral: readonly unknown[]): void {
  if (neutral.some(other => JSON.stringify(other) === JSON.stringify(value))) return
  const allowed = neutral.map(other => JSON.stringify(other))
  throw badRequest(
    `'${name}' is not supported by this server${allowed.length ? ` (only ${allowed.join(' or ')})` : ''}. Leave it out.`,
    name,
    'unsupported_parameter',
  )
}

/** Of the ways in which a value could have fitted, the one that it came closest to: its form was right. */
function deepest(issue: z.core.$ZodIssue): { path: PropertyKey[]; message: string } {
  if (issue.code !== 'invalid_union') return issue
  const inner = issue.errors.flat().filter(({ code, path }) => code !== 'invalid_type' || path.length > 0)
  const closest = inner.map(deepest).sort((a, b) => b.path.length - a.path.length)[0]
  return closest ? { path: [...issue.path, ...closest.path], message: closest.message } : issue
}

function nameOf(path: readonly PropertyKey[]): string {
  return path.map((part, i) => (typeof part === 'number' ? `[${part}]` : `${i ? '.' : ''}${String(part)}`)).join('')
}

function valueAt(root: unknown, path: readonly PropertyKey[]): string {
  const value = path.reduce<unknown>((at, part) => (at as Record<PropertyKey, unknown> | undefined)?.[part], root)
  if (typeof value === 'object' || value === undefined) return ''
  const text = JSON.stringify(value)
  return `, got ${text.length > 60 ? `${text.slice(0, 60)}…` : text}`
}

function typeOf(value: unknown): string {
  return value === null ? 'null' : `a ${typeof value}`
}
