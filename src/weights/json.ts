/** @file A strict JSON parser that notices duplicate keys, keeps integers exact and never builds plain objects. */

/** JSON as parsed here: objects are maps, integers are bigints, other numbers are numbers. */
export type JsonValue = null | boolean | bigint | number | string | JsonValue[] | Map<string, JsonValue>

const MAX_DEPTH = 32
const NUMBER = /-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/y
const LONGEST_INTEGER = 20

/** What is wrong with a JSON text, and where. */
export class JsonError extends Error {
  /** The keys from the top of the document down to the place of the error. */
  readonly path: readonly string[]

  constructor(problem: string, position: number, path: readonly string[]) {
    super(`${problem} at character ${position}`)
    this.name = 'JsonError'
    this.path = path
  }
}

/**
 * Parses `text`. Unlike `JSON.parse` it refuses duplicate keys, unpaired surrogates and deep nesting, and gives objects
 * as `Map`s, so that a key such as `__proto__` is a key like any other. Numbers written as integers of up to 20 digits
 * come as bigints, all others (fractions, exponents, `-0`, longer integers) as numbers.
 */
export function parseStrictJson(text: string): JsonValue {
  const path: string[] = []
  let position = 0

  const fail = (problem: string): never => {
    throw new JsonError(problem, position, [...path])
  }
  const found = () => (position < text.length ? `got ${JSON.stringify(text[position])}` : 'got the end of the text')

  function skipSpace(): void {
    for (;;) {
      const code = text.charCodeAt(position)
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return
      position++
    }
  }

  function parseValue(depth: number): JsonValue {
    if (depth > MAX_DEPTH) fail(`nesting deeper than ${MAX_DEPTH} levels`)
    skipSpace()
    switch (text[position]) {
      case '{':
        return parseObject(depth)
      case '[':
        return parseArray(depth)
      case '"':
        return parseString()
      case 't':
        return parseWord('true', true)
      case 'f':
        return parseWord('false', false)
      case 'n':
        return parseWord('null', null)
      default:
        return parseNumber()
    }
  }

  function parseObject(depth: number): Map<string, JsonValue> {
    const result = new Map<string, JsonValue>()
    position++
    skipSpace()
    if (text[position] === '}') {
      position++
      return result
    }
    for (;;) {
      skipSpace()
      if (text[position] !== '"') fail(`${found()}, expected a key in double quotes`)
      const key = parseString()
      path.push(key)
      if (result.has(key)) fail(`duplicate key ${JSON.stringify(key)}`)
      skipSpace()
      if (text[position] !== ':') fail(`${found()}, expected ":" after the key ${JSON.stringify(key)}`)
      position++
      result.set(key, parseValue(depth + 1))
      path.pop()
      skipSpace()
      if (text[position] === '}') {
        position++
        return result
      }
      if (text[position] !== ',') fail(`${found()}, expected "," or "}"`)
      position++
    }
  }

  function parseArray(depth: number): JsonValue[] {
    const result: JsonValue[] = []
    position++
    skipSpace()
    if (text[position] === ']') {
      position++
      return result
    }
    for (;;) {
      result.push(parseValue(depth + 1))
      skipSpace()
      if (text[position] === ']') {
        position++
        return result
      }
      if (text[position] !== ',') fail(`${found()}, expected "," or "]"`)
      position++
    }
  }

  function parseString(): string {
    const start = position
    let escaped = false
    for (position++; ; position++) {
      if (position >= text.length) fail('a string without its closing quote')
      const code = text.charCodeAt(position)
      if (code === 0x22) break
      if (code < 0x20) fail('a control character inside a string')
      if (code === 0x5c) {
        escaped = true
        position++
      }
    }
    position++
    if (!escaped) return text.slice(start + 1, position - 1)
    const unescaped = readEscapes(text.slice(start, position))
    return unescaped ?? fail('a malformed escape in a string')
  }

  function parseWord<T extends boolean | null>(word: string, value: T): T {
    if (!text.startsWith(word, position)) fail(`${found()}, expected a JSON value`)
    position += word.length
    return value
  }

  function parseNumber(): bigint | number {
    NUMBER.lastIndex = position
    const match = NUMBER.exec(text)
    if (!match) return fail(`${found()}, expected a JSON value`)
    position += match[0].length
    const whole = match[1] === undefined && match[2] === undefined && match[0] !== '-0'
    // Reading a bigint takes time quadratic in its digits, which a hostile file must not be able to ask for.
    return whole && match[0].length <= LONGEST_INTEGER ? BigInt(match[0]) : Number(match[0])
  }

  const value = parseValue(0)
  skipSpace()
  if (position < text.length) fail(`${found()}, expected the end of the text`)
  return value
}

function readEscapes(literal: string): string | undefined {
  try {
    const value = JSON.parse(literal) as string
    return isWellFormed(value) ? value : undefined
  } catch {
    return undefined
  }
}

/** Whether `text` has no unpaired surrogate, that is, whether it can be written as UTF-8. */
export function isWellFormed(text: string): boolean {
  return !/\p{Surrogate}/u.test(text)
}
