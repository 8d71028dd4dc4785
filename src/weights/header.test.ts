/** @file Headers: valid ones are read, hostile ones end in an error that names file and tensor. */
import { describe, expect, it } from 'vitest'
import { SafetensorsError } from './error.ts'
import { buildFile, joinFile } from './fixtures/build.ts'
import { parseSafetensors } from './parse.ts'

const tensor = (begin: unknown, end: unknown, rest: object = {}) => ({
  dtype: 'U8',
  shape: [Number(end) - Number(begin)],
  data_offsets: [begin, end],
  ...rest,
})

function errorOf(file: Uint8Array): SafetensorsError {
  try {
    parseSafetensors(file, 'x.safetensors')
  } catch (error) {
    expect(error).toBeInstanceOf(SafetensorsError)
    return error as SafetensorsError
  }
  throw new Error('the file was read without an error')
}

describe('valid headers', () => {
  it('gives tensors in the order of the file, with views of its bytes', () => {
    const file = buildFile({ b: tensor(2, 5), __metadata__: { format: 'pt' }, a: tensor(0, 2) }, [1, 2, 3, 4, 5])
    const { tensors, metadata } = parseSafetensors(file)
    expect([...tensors.keys()]).toEqual(['a', 'b'])
    expect([...tensors.get('b')!.bytes]).toEqual([3, 4, 5])
    expect(tensors.get('b')!.bytes.buffer).toBe(file.buffer)
    expect(tensors.get('a')).toMatchObject({ kind: 'memory', dtype: 'U8', shape: [2] })
    expect({ ...metadata }).toEqual({ format: 'pt' })
  })

  it('takes scalars, empty tensors, padding, no tensors and no metadata', () => {
    const scalar = { dtype: 'F32', shape: [], data_offsets: [0, 4] }
    const empty = { dtype: 'F64', shape: [3, 0], data_offsets: [4, 4] }
    const { tensors } = parseSafetensors(buildFile(`${JSON.stringify({ scalar, empty })}    \n`, [0, 0, 128, 63]))
    expect(tensors.get('scalar')).toMatchObject({ shape: [] })
    expect(tensors.get('empty')!.bytes).toHaveLength(0)
    expect(parseSafetensors(buildFile('{}'))).toEqual({ tensors: new Map(), metadata: undefined })
  })

  it('takes a header with names that objects have of themselves', () => {
    const { tensors } = parseSafetensors(buildFile({ toString: tensor(0, 1), hasOwnProperty: tensor(1, 2) }, [1, 2]))
    expect([...tensors.keys()]).toEqual(['toString', 'hasOwnProperty'])
  })
})

describe('a hostile length', () => {
  it.each([
    ['an empty file', new Uint8Array(0), 'got 0 bytes, expected at least 8'],
    ['half a length', new Uint8Array(5), 'got 5 bytes, expected at least 8'],
    [
      'over 100 MB',
      joinFile(new Uint8Array(4), [], 100_000_001n),
      'claims 100000001 bytes, expected at most 100000000',
    ],
    ['beyond 2^53', joinFile(new Uint8Array(4), [], 2n ** 64n - 1n), 'claims 18446744073709551615 bytes'],
    ['beyond the file', joinFile(new Uint8Array(4), [], 5n), 'claims 5 bytes, but only 4 follow'],
    ['zero', joinFile(new Uint8Array(0), [], 0n), 'starts with nothing, expected "{"'],
  ])('%s', (_, file, message) => {
    const error = errorOf(file)
    expect(error.message).toContain(`x.safetensors: `)
    expect(error.message).toContain(message)
  })
})

describe('hostile header text', () => {
  it.each([
    ['not starting with a brace', buildFile(' {}'), 'starts with byte 0x20'],
    ['a byte order mark', buildFile('\ufeff{}'), 'starts with byte 0xef'],
    ['not UTF-8', joinFile(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d)), 'not UTF-8'],
    ['broken JSON', buildFile('{"a": }'), 'not valid JSON'],
    ['two documents', buildFile('{}{}'), 'expected the end of the text'],
    ['metadata that are no object', buildFile({ __metadata__: ['pt'] }), '__metadata__ is ["pt"], expected an object'],
    ['metadata with a number', buildFile({ __metadata__: { step: 3 } }), '__metadata__ holds 3 under "step"'],
    ['metadata with __proto__', buildFile('{"__metadata__":{"__proto__":"x"}}'), 'reserved in JavaScript'],
  ])('%s', (_, file, message) => {
    const error = errorOf(file)
    expect(error.file).toBe('x.safetensors')
    expect(error.message).toContain(message)
  })

  it('names the tensor of a duplicate', () => {
    const entry = JSON.stringify(tensor(0, 1))
    const error = errorOf(buildFile(`{"w": ${entry}, "w": ${entry}}`, [1]))
    expect(error.tensor).toBe('w')
    expect(error.message).toContain('duplicate key "w"')
    expect(errorOf(buildFile('{"w": {"shape": [1], "shape": [2]}}')).message).toMatch(
      /tensor "w".*duplicate key "shape"/,
    )
  })
})

describe('a hostile tensor', () => {
  const max = Number.MAX_SAFE_INTEGER
  it.each([
    ['no object', 3, 'holds 3, expected an object'],
    ['no dtype', { shape: [1], data_offsets: [0, 1] }, 'dtype is undefined'],
    ['an unknown dtype', tensor(0, 4, { dtype: 'F33' }), 'unknown dtype "F33"'],
    ['a dtype that objects have', tensor(0, 4, { dtype: 'toString' }), 'unknown dtype "toString"'],
    ['an unsupported dtype', tensor(0, 4, { dtype: 'C64' }), 'C64 is part of the format but not supported'],
    ['no shape', tensor(0, 4, { shape: undefined }), 'shape is missing'],
    ['a negative size', tensor(0, 4, { shape: [-4] }), 'shape is [-4], expected'],
    ['a fractional size', tensor(0, 4, { shape: [2.5] }), 'shape is [2.5], expected'],
    ['a size as text', tensor(0, 4, { shape: ['4'] }), 'shape is ["4"], expected'],
    ['a size beyond 2^53', tensor(0, 4, { shape: [1e300] }), 'shape is [1e+300], expected'],
    ['a product beyond 2^64', tensor(0, 4, { shape: [max, max] }), 'more bytes than 64 bits can count'],
    ['a product that wraps to its size', tensor(0, 4, { shape: [2 ** 32, 2 ** 32, 4] }), 'more bytes than 64 bits'],
    ['a wrong size', tensor(0, 4, { shape: [5] }), 'got 4 bytes, expected 5 for U8 of shape [5]'],
    ['a wrong size for the dtype', tensor(0, 4, { dtype: 'F16' }), 'got 4 bytes, expected 8 for F16 of shape [4]'],
    ['no offsets', { dtype: 'U8', shape: [4] }, 'data_offsets is missing'],
    ['one offset', tensor(0, 4, { data_offsets: [4] }), 'data_offsets is [4], expected two'],
    ['three offsets', tensor(0, 4, { data_offsets: [0, 2, 4] }), 'data_offsets is [0, 2, 4], expected two'],
    ['a negative offset', tensor(0, 4, { data_offsets: [-4, 0] }), 'data_offsets is [-4, 0], expected'],
    ['a fractional offset', tensor(0, 4, { data_offsets: [0, 3.5] }), 'data_offsets is [0, 3.5], expected'],
    ['offsets backwards', tensor(0, 4, { data_offsets: [4, 0] }), 'expected the end not to lie before the begin'],
    ['an end past the file', tensor(0, 5), 'data_offsets end at 5, but the file holds only 4 bytes of data'],
    ['a gap before it', tensor(1, 4), 'leaves a gap of 1 bytes before it: its data begin at 1, expected 0'],
  ])('%s', (_, entry, message) => {
    const error = errorOf(buildFile({ w: entry }, [1, 2, 3, 4]))
    expect(error.tensor).toBe('w')
    expect(error.message).toContain('x.safetensors: tensor "w": ')
    expect(error.message).toContain(message)
  })

  it('refuses an integer written as a fraction, as the reference implementation does', () => {
    const error = errorOf(buildFile('{"w":{"dtype":"U8","shape":[1e0],"data_offsets":[0,1]}}', [1]))
    expect(error.message).toContain('shape is [1], expected')
  })

  it('refuses overlaps, naming both tensors', () => {
    const error = errorOf(buildFile({ a: tensor(0, 3), b: tensor(2, 4) }, [1, 2, 3, 4]))
    expect(error.message).toContain('tensor "b": overlaps tensor "a": its data begin at 2, expected 3')
    expect(errorOf(buildFile({ a: tensor(0, 4), b: tensor(0, 4) }, [1, 2, 3, 4])).message).toContain('overlaps')
  })

  it('refuses bytes after the last tensor', () => {
    expect(errorOf(buildFile({ a: tensor(0, 3) }, [1, 2, 3, 4])).message).toMatch(/1 bytes belong to no tensor/)
  })

  it.each(['__proto__', 'constructor', 'model.__proto__.polluted', 'a.constructor.prototype'])(
    'refuses the name %s',
    name => {
      const error = errorOf(buildFile(`{${JSON.stringify(name)}: ${JSON.stringify(tensor(0, 1))}}`, [1]))
      expect(error.tensor).toBe(name)
      expect(error.message).toContain('reserved in JavaScript')
    },
  )

  it('does not multiply out a shape of many huge dimensions', () => {
    const shape = new Array(100_000).fill(max)
    expect(errorOf(buildFile({ w: { dtype: 'U8', shape, data_offsets: [0, 0] } })).message).toContain('64 bits')
  })
})
