/** @file JSON as Python writes it. */

/** A number that Python holds as floating point: 4 is written `4.0`. */
export class PythonFloat {
  readonly value: number

  constructor(value: number) {
    this.value = value
  }

  /** As Python's `repr` spells it. */
  toString(): string {
    const { value } = this
    if (Number.isInteger(value) && Math.abs(value) < 1e16) return `${value}.0`
    if (value !== 0 && (Math.abs(value) < 1e-4 || Math.abs(value) >= 1e16)) {
      const [digits, exponent] = value.toExponential().split('e')
      return `${digits}e${exponent.replace(/^([+-])(\d)$/, '$10$2')}`
    }
    return String(value)
  }

  /** Where no Python is concerned it is an ordinary number. */
  toJSON(): number {
    return this.value
  }
}

/**
 * JSON as Python's `json.dumps(indent=2, sort_keys=True)` writes it.
 *
 * @param floats the keys whose numbers Python holds as floating point
 */
export function pythonJson(value: unknown, floats: ReadonlySet<string> = new Set(), key = '', indent = ''): string {
  if (value instanceof PythonFloat) return value.toString()
  if (typeof value === 'number' && floats.has(key) && Number.isInteger(value)) return `${value}.0`
  if (value === null || value === undefined) return 'null'
  if (typeof value !== 'object') return JSON.stringify(value).replace(/[\u007f-\uffff]/g, escapeUnicode)
  const inner = `${indent}  `
  if (Array.isArray(value)) {
    if (value.length === 0) return '[]'
    return `[\n${value.map(item => inner + pythonJson(item, floats, '', inner)).join(',\n')}\n${indent}]`
  }
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  if (entries.length === 0) return '{}'
  const lines = entries.map(
    ([name, item]) => `${inner}${JSON.stringify(name)}: ${pythonJson(item, floats, name, inner)}`,
  )
  return `{\n${lines.join(',\n')}\n${indent}}`
}

const escapeUnicode = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
