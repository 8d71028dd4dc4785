/** @file JSON as Python writes it. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PythonFloat, pythonJson } from './python-json.ts'

describe('pythonJson', () => {
  it('sorts keys, indents by two and escapes what is not ASCII', () => {
    expect(pythonJson({ b: [1, 'é'], a: { z: null, y: [] }, c: {} })).toBe(
      '{\n  "a": {\n    "y": [],\n    "z": null\n  },\n  "b": [\n    1,\n    "\\u00e9"\n  ],\n  "c": {}\n}',
    )
  })

  it('writes numbers that Python holds as floating point with a point', () => {
    expect(pythonJson({ p: 0, q: 0 }, new Set(['p']))).toBe('{\n  "p": 0.0,\n  "q": 0\n}')
    expect(pythonJson([new PythonFloat(4), new PythonFloat(0.7)])).toBe('[\n  4.0,\n  0.7\n]')
  })

  it.each([
    [0, '0.0'],
    [-3, '-3.0'],
    [0.0001, '0.0001'],
    [0.00001, '1e-05'],
    [2.5e-7, '2.5e-07'],
    [1e16, '1e+16'],
    [1.5e300, '1.5e+300'],
    [123456789012345, '123456789012345.0'],
  ])('spells %j as Python’s repr does: %s', (value, text) => {
    expect(new PythonFloat(value).toString()).toBe(text)
  })

  it('gives back every number when it is read again', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), value => {
        expect(JSON.parse(pythonJson(new PythonFloat(value)))).toBe(value === 0 ? JSON.parse(String(value)) : value)
      }),
    )
  })
})
