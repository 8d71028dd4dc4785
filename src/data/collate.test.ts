/** @file Tests of padding features into batches. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { padBatch } from './collate.ts'
import type { Feature } from './features.ts'

const numbers = (data: BigInt64Array) => Array.from(data, Number)

describe('padBatch', () => {
  it('pads to the longest and stacks classes into [batch]', () => {
    const batch = padBatch(
      [
        { inputIds: [2, 5, 3], tokenTypeIds: [0, 0, 1], labels: 1 },
        { inputIds: [7], tokenTypeIds: [1], labels: 0 },
      ],
      { padTokenId: 9 },
    )
    expect(batch.input_ids.dims).toEqual([2, 3])
    expect(numbers(batch.input_ids.data)).toEqual([2, 5, 3, 7, 9, 9])
    expect(numbers(batch.attention_mask.data)).toEqual([1, 1, 1, 1, 0, 0])
    expect(numbers(batch.token_type_ids!.data)).toEqual([0, 0, 1, 1, 0, 0])
    expect(batch.labels).toEqual({ dtype: 'int64', dims: [2], data: BigInt64Array.of(1n, 0n) })
  })

  it('pads token labels with -100, on the left when asked, up to a multiple', () => {
    const features = [
      { inputIds: [4, 5, 6], labels: [-100, 5, 6] },
      { inputIds: [7], labels: [7] },
    ]
    const batch = padBatch(features, { padTokenId: 0, padToMultipleOf: 4, paddingSide: 'left' })
    expect(numbers(batch.input_ids.data)).toEqual([0, 4, 5, 6, 0, 0, 0, 7])
    expect(numbers(batch.attention_mask.data)).toEqual([0, 1, 1, 1, 0, 0, 0, 1])
    expect(numbers(batch.labels.data)).toEqual([-100, -100, 5, 6, -100, -100, -100, 7])
    expect(batch.token_type_ids).toBeUndefined()
  })

  it('gives every feature back where the attention mask is 1', () => {
    const feature = fc
      .array(fc.nat({ max: 999 }), { minLength: 1, maxLength: 20 })
      .map(ids => ({ inputIds: ids, labels: ids }))
    const side = fc.constantFrom('left' as const, 'right' as const)
    fc.assert(
      fc.property(
        fc.array(feature, { minLength: 1, maxLength: 8 }),
        side,
        fc.integer({ min: 1, max: 16 }),
        (features, paddingSide, multiple) => {
          const { input_ids, attention_mask, labels } = padBatch(features, {
            padTokenId: 0,
            paddingSide,
            padToMultipleOf: multiple,
          })
          const [, length] = input_ids.dims
          expect(length % multiple).toBe(0)
          features.forEach(({ inputIds }, i) => {
            const row = (data: BigInt64Array) => numbers(data.subarray(i * length, (i + 1) * length))
            const mask = row(attention_mask.data)
            expect(row(input_ids.data).filter((_, j) => mask[j])).toEqual(inputIds)
            expect(row(labels.data).filter((_, j) => !mask[j])).toEqual(new Array(length - inputIds.length).fill(-100))
          })
        },
      ),
      { numRuns: 50 },
    )
  })

  it.each<[string, Feature[], object, string]>([
    ['no features', [], {}, 'no features'],
    [
      'a tokenizer without padding',
      [{ inputIds: [1], labels: 0 }],
      { padTokenId: undefined },
      'padTokenId is undefined',
    ],
    ['a multiple of 0', [{ inputIds: [1], labels: 0 }], { padToMultipleOf: 0 }, 'padToMultipleOf is 0'],
    ['an unknown side', [{ inputIds: [1], labels: 0 }], { paddingSide: 'both' }, 'paddingSide is "both"'],
    [
      'two kinds of labels',
      [
        { inputIds: [1], labels: 0 },
        { inputIds: [1], labels: [1] },
      ],
      {},
      'feature 1 has token labels',
    ],
    [
      'types in one only',
      [
        { inputIds: [1], labels: 0, tokenTypeIds: [0] },
        { inputIds: [1], labels: 0 },
      ],
      {},
      'only one has tokenTypeIds',
    ],
    ['labels of another length', [{ inputIds: [1, 2], labels: [1] }], {}, '1 labels for 2 inputIds'],
    [
      'a mask of another length',
      [{ inputIds: [1], attentionMask: [1, 1], labels: 0 }],
      {},
      '2 attentionMask for 1 inputIds',
    ],
  ])('refuses %s', (_, features, options, message) => {
    expect(() => padBatch(features, { padTokenId: 0, ...options })).toThrow(message)
  })
})
