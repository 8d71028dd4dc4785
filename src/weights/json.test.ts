/** @file The strict JSON parser: agrees with `JSON.parse` on good texts, refuses what that lets pass. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { JsonError, type JsonValue, parseStrictJson } from './json.ts'

function plain(value: JsonValue): unknown {
  if (value instanceof Map) {
    const entries = [...value].map(([key, inner]) => [key, plain(inner)])
    return Object.fromEntries(entries)
  }
  if (Array.isArray(value)) return value.map(plain)
  return typeof value === 'bigint' ? Number(value) : value
}

describe('strict JSON', () => {
  it('reads what JSON.parse reads', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 6 }), fc.constantFrom(undefined, 1, '\t'), (text, space) => {
        const spaced = JSON.stringify(JSON.parse(text), undefined, space)
        let value: JsonValue
        try {
          value = parseStrictJson(spaced)
        } catch (error) {
          expect(/\\ud[89a-f]/.test(spaced), String(error)).toBe(true)
          return
        }
        expect(plain(value)).toEqual(JSON.parse(spaced))
      }),
    )
  })

  it('refuses whatever JSON.parse refuses', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...'{}[]",:\\eE+-.0123tfnrue \n'), { maxLength: 12 }), characters => {
        const text = characters.join('')
        let valid = true
        try {
          JSON.parse(text)
        } catch {
          valid = false
        }
        if (!valid) expect(() => parseStrictJson(text)).toThrow(JsonError)
      }),
      { numRuns: 500 },
    )
  })

  it('keeps integers exact and tells them from other numbers', () => {
    expect(parseStrictJson('[9007199254740993, -1, 1.0, 1e2, -0, 123456789012345678901]')).toEqual([
      9007199254740993n,
      -1n,
      1,
      100,
      -0,
      123456789012345680000,
    ])
  })

  it('reads a key called __proto__ as a key', () => {
    const value = parseStrictJson('{"__proto__": {"polluted": true}}') as Map<string, JsonValue>
    expect(value.has('__proto__')).toBe(true)
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined()
  })

  it('names a duplicate key, where it stands, and the way to it', () => {
    const error = (() => {
      try {
        return parseStrictJson('{"a": {"b": 1, "\\u0062": 2}}')
      } catch (caught) {
        return caught as JsonError
      }
    })() as JsonError
    expect(error.message).toBe('duplicate key "b" at character 23')
    expect(error.path).toEqual(['a', 'b'])
  })

  it.each([
    ['["\\ud800"]', 'malformed escape'],
    ['["\u0001"]', 'control character'],
    ['["abc', 'without its closing quote'],
    ['{"a" 1}', 'expected ":"'],
    ['{a: 1}', 'expected a key in double quotes'],
    ['[1,]', 'expected a JSON value'],
    ['[01]', 'expected "," or "]"'],
    ['{} {}', 'expected the end of the text'],
    ['', 'got the end of the text'],
    ['['.repeat(100_000), 'nesting deeper than 32'],
  ])('refuses %.20s', (text, message) => {
    expect(() => parseStrictJson(text)).toThrow(message)
  })
})
