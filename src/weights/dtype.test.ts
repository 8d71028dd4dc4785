/** @file Element types, their sizes and their typed-array views. */
import { describe, expect, it } from 'vitest'
import {
  asBytes,
  asTypedArray,
  bytesPerElement,
  DTYPES,
  type Dtype,
  elementCount,
  isDtype,
  isFloatDtype,
} from './dtype.ts'

describe('element types', () => {
  it('are as wide as their typed arrays', () => {
    for (const dtype of DTYPES)
      expect(asTypedArray(dtype, new Uint8Array(8)).BYTES_PER_ELEMENT).toBe(bytesPerElement(dtype))
  })

  it('tells floats from integers', () => {
    expect(DTYPES.filter(isFloatDtype)).toEqual(['F8_E5M2', 'F8_E4M3', 'F16', 'BF16', 'F32', 'F64'])
  })

  it('refuses types of the format that are not supported, with the way out, and names from nowhere', () => {
    expect(() => bytesPerElement('C64' as Dtype)).toThrow(/C64 is part of the format but not supported.*Python/)
    expect(() => bytesPerElement('float32' as Dtype)).toThrow(/unknown dtype "float32", expected one of BOOL, U8/)
    expect(isDtype('toString')).toBe(false)
    expect(isDtype(3)).toBe(false)
  })

  it('counts elements, one for a scalar', () => {
    expect([[], [0, 5], [2, 3]].map(elementCount)).toEqual([1, 0, 6])
  })
})

describe('views', () => {
  it('share memory where aligned and copy where not', () => {
    const memory = new Uint8Array(16).map((_, i) => i)
    expect(asTypedArray('U16', memory.subarray(2, 6)).buffer).toBe(memory.buffer)
    const copy = asTypedArray('U16', memory.subarray(1, 5))
    expect(copy.buffer).not.toBe(memory.buffer)
    expect([...copy]).toEqual([0x0201, 0x0403])
  })

  it('refuses bytes that are no whole number of elements', () => {
    expect(() => asTypedArray('F32', new Uint8Array(7))).toThrow(/got 7 bytes, expected a multiple of 4/)
  })

  it('gives the bytes of a part of a buffer only', () => {
    const part = new Uint16Array(Uint16Array.of(1, 2, 3).buffer, 2, 1)
    expect([...asBytes(part)]).toEqual([2, 0])
  })
})
