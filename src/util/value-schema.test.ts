import { describe, expect, it } from 'vitest'
import { fits, type ValueSchema } from './value-schema.ts'

describe('a value fits its schema', () => {
  it.each<[ValueSchema, unknown[], unknown[]]>([
    [{ type: 'integer', minimum: 1 }, [1, 2 ** 40], [0, 1.5, '1', null, Number.NaN, 2 ** 60]],
    [{ type: 'number', exclusiveMinimum: 0 }, [1e-9, 3], [0, -1, Number.POSITIVE_INFINITY, '3', undefined]],
    [{ type: 'number', minimum: 0, exclusiveMaximum: 1 }, [0, 0.5], [1, -0.1, Number.NaN]],
    [{ type: 'boolean' }, [true, false], [0, 'true', null]],
    [{ enum: ['a', 'b'] }, ['a'], ['c', 1, undefined]],
    [{ type: 'string', minLength: 1 }, ['x'], ['', 1, ['x']]],
    [
      { type: 'array', items: { type: 'string' }, minItems: 1, uniqueItems: true },
      [['a', 'b']],
      [[], ['a', 'a'], [1], 'a', {}],
    ],
    [{ type: 'object', additionalProperties: { type: 'string' } }, [{}, { a: 'b' }], [{ a: 1 }, [], null]],
    [{ anyOf: [{ type: 'integer', minimum: 1 }, { enum: [-1] }] }, [-1, 4], [0, -2, 'x']],
  ])('%j', (schema, right, wrong) => {
    for (const value of right) expect(fits(value, schema), JSON.stringify(value)).toBe(true)
    for (const value of wrong) expect(fits(value, schema), JSON.stringify(value)).toBe(false)
  })
})
