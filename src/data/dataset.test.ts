/** @file Tests of the data set and its splits. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Dataset } from './dataset.ts'

const numbered = (n: number) => new Dataset(Array.from({ length: n }, (_, id) => ({ id, label: id % 3 ? 'a' : 'b' })))
const ids = (dataset: Dataset) => [...dataset].map(row => row.id as number)

describe('Dataset', () => {
  it('gives rows by index, counts from the end, and refuses an index outside', () => {
    const data = numbered(3)
    expect(data.length).toBe(3)
    expect(data.at(0).id).toBe(0)
    expect(data.at(-1).id).toBe(2)
    expect(() => data.at(3)).toThrow('Row 3 was asked for, but the data set has 3 rows')
    expect(() => data.select([0, 7])).toThrow(RangeError)
  })

  it('is not changed when the array it was made from changes', () => {
    const rows = [{ id: 1 }]
    const data = new Dataset(rows)
    rows.push({ id: 2 })
    expect(data.length).toBe(1)
  })

  it('maps, filters, selects and concatenates into new data sets', () => {
    const data = numbered(4)
    expect([...data.map((row, i) => ({ twice: row.id * 2 + i }))]).toEqual([0, 3, 6, 9].map(twice => ({ twice })))
    expect(ids(data.filter(row => row.id > 1))).toEqual([2, 3])
    expect(ids(data.select([3, 0, 0]))).toEqual([3, 0, 0])
    expect(ids(data.concat(numbered(2), numbered(1)))).toEqual([0, 1, 2, 3, 0, 1, 0])
    expect(data.length).toBe(4)
  })

  it('lists the columns of all rows, also those only some have', () => {
    expect(new Dataset([{ a: 1 }, { b: 2, a: 3 }]).columns).toEqual(['a', 'b'])
  })

  it('names the nearest column when one is mistyped', () => {
    expect(numbered(3).column('id')).toEqual([0, 1, 2])
    expect(() => numbered(3).column('lable')).toThrow(
      /no column "lable". Did you mean "label"\? Its columns are "id", "label"/,
    )
  })

  it('shuffles into a permutation that the seed decides', () => {
    const shuffled = ids(numbered(50).shuffle(3))
    expect(shuffled).toEqual(ids(numbered(50).shuffle(3)))
    expect(shuffled).not.toEqual(ids(numbered(50).shuffle(4)))
    expect([...shuffled].sort((a, b) => a - b)).toEqual(ids(numbered(50)))
  })
})

describe('Dataset.split', () => {
  it('cuts any data set into two disjoint parts that hold every row, the same for the same seed', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 200 }),
        fc.double({ min: 0.01, max: 0.99, noNaN: true }),
        fc.nat(),
        (n, test, seed) => {
          const [train, held] = numbered(n).split({ test, seed })
          expect([...ids(train), ...ids(held)].sort((a, b) => a - b)).toEqual(ids(numbered(n)))
          expect(held.length).toBe(Math.min(n - 1, Math.max(1, Math.round(n * test))))
          expect(numbered(n).split({ test, seed }).map(ids)).toEqual([ids(train), ids(held)])
        },
      ),
      { numRuns: 50 },
    )
  })

  it('takes a whole number as a count of rows', () => {
    expect(
      numbered(10)
        .split({ test: 3 })
        .map(part => part.length),
    ).toEqual([7, 3])
    expect(
      numbered(10)
        .split({ test: 1 })
        .map(part => part.length),
    ).toEqual([9, 1])
  })

  it('keeps the share of every class to within one row, and one row of each in training', () => {
    const sizes = fc.array(fc.integer({ min: 4, max: 60 }), { minLength: 1, maxLength: 6 })
    fc.assert(
      fc.property(sizes, fc.double({ min: 0.05, max: 0.5, noNaN: true }), fc.nat(), (classes, test, seed) => {
        const data = new Dataset(classes.flatMap((size, label) => Array.from({ length: size }, () => ({ label }))))
        const [train, held] = data.split({ test, seed, stratify: 'label' })
        expect(train.length + held.length).toBe(data.length)
        classes.forEach((size, label) => {
          const taken = held.column('label').filter(value => value === label).length
          expect(Math.abs(taken - (held.length * size) / data.length)).toBeLessThan(1)
          expect(taken).toBeLessThan(size)
        })
      }),
      { numRuns: 50 },
    )
  })

  it('refuses sizes that leave a part empty', () => {
    for (const test of [0, -1, 10, 2.5, Number.NaN]) {
      expect(() => numbered(10).split({ test })).toThrow('Give a share between 0 and 1, or a whole number from 1 to 9')
    }
    expect(() => numbered(1).split({ test: 0.5 })).toThrow('at least 2 are needed')
  })

  it('refuses to stratify by a missing column, a missing value, or classes too small', () => {
    expect(() => numbered(9).split({ test: 3, stratify: 'labl' })).toThrow('Did you mean "label"')
    const gap = new Dataset<Record<string, unknown>>([{ label: 'a' }, { id: 1 }, { label: 'a' }])
    expect(() => gap.split({ test: 1, stratify: 'label' })).toThrow('row 1 has no value there')
    const singles = new Dataset([{ label: 'a' }, { label: 'b' }, { label: 'c' }])
    expect(() => singles.split({ test: 2, stratify: 'label' })).toThrow('its 3 classes are too small')
  })
})
