/** @file Blocks of adapters: building them, taking them apart, and computing them on plain arrays. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { compositionFromJson, compositionToJson } from './adapterhub/setup.ts'
import {
  Average,
  adaptersOf,
  BatchSplit,
  type Composable,
  type Composer,
  compose,
  Fuse,
  firstAdapter,
  fusionName,
  fusionsOf,
  isComposition,
  lastAdapter,
  Parallel,
  prune,
  repetitionsOf,
  Split,
  Stack,
} from './composition.ts'

/** Rows of positions. */
type Rows = readonly (readonly number[])[]

/** What an adapter does to a number: none commutes with another. */
const effect = (name: string, x: number) => x * (name.charCodeAt(0) - 95) + name.length
const mapped = (rows: Rows, change: (x: number) => number): Rows => rows.map(row => row.map(change))

const composer: Composer<Rows> = {
  name: 'tables',
  blocks: ['stack', 'split', 'batchSplit', 'parallel', 'average', 'fuse'],
  apply: (name, rows) => mapped(rows, x => effect(name, x)),
  size: (rows, axis) => (axis === 0 ? rows.length : rows[0].length),
  slice: (rows, axis, start, end) => {
    const [from, to] = [Number(start), Number(end)]
    return axis === 0 ? rows.slice(from, to) : rows.map(row => row.slice(from, to))
  },
  join: (parts, axis) => (axis === 0 ? parts.flat() : parts[0].map((_, i) => parts.flatMap(part => part[i]))),
  average: (parts, weights) =>
    parts[0].map((row, i) =>
      row.map((_, k) => parts.reduce((sum, part, p) => sum + (weights[p] / parts.length) * part[i][k], 0)),
    ),
  fuse: (_, parts, before) => before.map((row, i) => row.map((x, k) => x + Math.max(...parts.map(part => part[i][k])))),
}

const run = (composition: Composable, rows: Rows) => compose(composition, rows, composer)
const table: Rows = [
  [1, 2, 3, 4],
  [5, 6, 7, 8],
  [9, 10, 11, 12],
  [13, 14, 15, 16],
]
const names = fc.constantFrom('a', 'b', 'c', 'd')

/** Any composition that suits any table with as many rows as 12 divides. */
const compositions: fc.Arbitrary<Composable> = fc.letrec<{ node: Composable }>(tie => ({
  node: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    names,
    fc.array(tie('node'), { minLength: 1, maxLength: 3 }).map(children => Stack(...children)),
    fc.array(tie('node'), { minLength: 2, maxLength: 3 }).map(children => Fuse(...children)),
    fc.array(tie('node'), { minLength: 1, maxLength: 3 }).map(children => Average(children)),
    fc.array(names, { minLength: 2, maxLength: 3 }).map(children => Parallel(...children)),
    fc.array(tie('node'), { minLength: 1, maxLength: 3 }).map(children => {
      return Split(
        children,
        children.map((_, i) => i + 1),
      )
    }),
  ),
})).node

describe('blocks', () => {
  it('refuse to be empty, and parts without a size each', () => {
    expect(() => Stack()).toThrow('stack: there must be at least one adapter in it')
    expect(() => Fuse('a')).toThrow('fuse: there must be at least two adapters to mix')
    expect(() => Split(['a', 'b'], [1])).toThrow('a whole number above 0 for each of its 2 children, got [1]')
    expect(() => BatchSplit(['a', 'b'], [1, 0])).toThrow('batchSplit: needs a whole number above 0')
    expect(() => Average(['a', 'b'], [1])).toThrow('average: needs a weight for each of its 2 children, got [1]')
    expect(() => Average(['a'], [Number.NaN])).toThrow('average: needs a weight')
  })

  it('know their adapters, fusions and ends', () => {
    const composition = Stack('a', Fuse(Stack('b', 'c'), 'a'), Parallel('d', 'b'))
    expect(adaptersOf(composition)).toEqual(['a', 'b', 'c', 'd'])
    expect(fusionsOf(composition)).toEqual(['c,a'])
    expect(fusionName(Fuse('x', 'y', 'z'))).toBe('x,y,z')
    expect([firstAdapter(composition), lastAdapter(composition)]).toEqual(['a', 'b'])
    expect(repetitionsOf(composition)).toBe(2)
    expect([repetitionsOf('a'), repetitionsOf(Stack('a', 'b'))]).toEqual([1, 1])
    expect([isComposition(composition), isComposition('a'), isComposition(['a'])]).toEqual([true, false, false])
  })

  it('come back from the JSON of a setup', () => {
    fc.assert(
      fc.property(compositions, composition => {
        const json = JSON.parse(JSON.stringify(compositionToJson(composition)))
        expect(compositionFromJson(json, 'file')).toEqual(composition)
      }),
    )
    expect(() => compositionFromJson({ type: 'Mix', children: ['a'] }, 'file')).toThrow(
      'file: the block "Mix" is not known',
    )
    expect(() => compositionFromJson({ type: 'Stack', children: [] }, 'file')).toThrow('has "type" and "children"')
  })
})

describe('compose', () => {
  it('lets each adapter of a stack read the one before, however stacks lie in each other', () => {
    fc.assert(
      fc.property(fc.array(names, { minLength: 1, maxLength: 5 }), fc.nat(4), (stack, at) => {
        const expected = stack.reduce((rows: Rows, name) => mapped(rows, x => effect(name, x)), table)
        expect(run(Stack(...stack), table)).toEqual(expected)
        const [first, rest] = [stack.slice(0, at), stack.slice(at)]
        if (first.length && rest.length) expect(run(Stack(Stack(...first), Stack(...rest)), table)).toEqual(expected)
      }),
    )
  })

  it('gives each part of a batch what its child gives alone', () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 4 })
    fc.assert(
      fc.property(sizes, fc.array(names, { minLength: 4, maxLength: 4 }), (batchSizes, all) => {
        const rows = batchSizes.flatMap((size, i) => Array.from({ length: size }, (_, k) => [i, k]))
        const children = batchSizes.map((_, i) => Stack(all[i], 'd'))
        const expected = rows.map(row => run(children[row[0]], [row])[0])
        expect(run(BatchSplit(children, batchSizes), rows)).toEqual(expected)
      }),
    )
  })

  it('gives each part of a sequence to its child', () => {
    const [a, b] = ['a', 'b'].map(name => run(name, table))
    expect(run(Split(['a', 'b'], [1, 3]), table)).toEqual(table.map((_, i) => [a[i][0], ...b[i].slice(1)]))
  })

  it('gives a repeated batch to one adapter after another', () => {
    const repeated = [...table, ...table]
    expect(run(Parallel('a', Stack('b', 'c')), repeated)).toEqual([...run('a', table), ...run(Stack('b', 'c'), table)])
  })

  it('divides an average by the number of adapters once more, as AdapterHub does', () => {
    const [a, b] = ['a', 'b'].map(name => run(name, table))
    const mean = a.map((row, i) => row.map((x, k) => (0.25 * x + 0.75 * b[i][k]) / 2))
    expect(run(Average(['a', 'b'], [0.25, 0.75]), table)).toEqual(mean)
    expect(run(Average(['a', 'a']), table)).toEqual(mapped(a, x => x / 2))
  })

  it('gives a fusion the results of its children and what they have read', () => {
    const [a, c] = [run('a', table), run(Stack('b', 'c'), table)]
    const expected = table.map((row, i) => row.map((x, k) => x + Math.max(a[i][k], c[i][k])))
    expect(run(Fuse('a', Stack('b', 'c')), table)).toEqual(expected)
  })

  it('lets a stack read anew before each adapter, and the children of other blocks what one of them reads', () => {
    const read: string[] = []
    const reading: Composer<Rows> = {
      ...composer,
      before: (name, rows) => {
        read.push(name)
        return rows
      },
    }
    compose(Stack('a', Fuse('b', 'c'), Average(['d', Stack('a', 'b')])), table, reading)
    expect(read).toEqual(['a', 'c', 'd', 'a', 'b'])
  })

  it('refuses parts that do not add up, naming both numbers', () => {
    expect(() => run(BatchSplit(['a', 'b'], [2, 1]), table)).toThrow(
      'batchSplit: its parts [2,1] add up to 3, the batch has 4',
    )
    expect(() => run(Split(['a', 'b'], [4, 2]), table)).toThrow(
      'split: its parts [4,2] add up to 6, the sequence has 4',
    )
    expect(() => run(Parallel('a', 'b', 'c'), table)).toThrow('parallel: 4 rows cannot be divided among 3')
  })

  it('gives the last part what is left of a length that is known only later', () => {
    const cuts: unknown[] = []
    const symbolic: Composer<string> = {
      ...(composer as unknown as Composer<string>),
      apply: (name, state) => state + name,
      size: () => 'batch',
      slice: (_, axis, start, end) => `${axis}:${start}-${end} `,
      join: parts => {
        cuts.push(...parts)
        return parts.join()
      },
    }
    compose(BatchSplit(['a', 'b'], [2, 5]), '', symbolic)
    expect(cuts).toEqual(['0:0-2 a', '0:2-batch b'])
  })

  it('refuses blocks that layers do not have, naming those that they have', () => {
    const few: Composer<Rows> = { ...composer, blocks: ['stack', 'parallel'] }
    expect(() => compose(Stack('a', Fuse('b', 'c')), table, few)).toThrow(
      'fuse: tables cannot be put together so; they have stack, parallel',
    )
    expect(() => compose(Average(['a']), table, few)).toThrow(/^average: tables/)
  })
})

describe('prune', () => {
  it('leaves a composition of which a layer has all adapters, up to stacks of one', () => {
    fc.assert(
      fc.property(compositions, composition => {
        const pruned = prune(composition, () => true)!
        expect(adaptersOf(pruned)).toEqual(adaptersOf(composition))
        expect(prune(pruned, () => true)).toEqual(pruned)
        expect(prune(composition, () => false)).toBeUndefined()
      }),
    )
  })

  it('takes adapters that a layer has not out of stacks alone', () => {
    const has = (name: string) => name !== 'a'
    expect(prune(Stack('a', 'b', 'c'), has)).toEqual(Stack('b', 'c'))
    expect(prune(Stack('a', 'b'), has)).toBe('b')
    expect(prune(Parallel(Stack('a', 'b'), 'c'), has)).toEqual(Parallel('b', 'c'))
    for (const block of [Parallel('a', 'b'), Average(['b', 'a']), BatchSplit(['a', 'b'], [1, 1])]) {
      expect(() => prune(Stack('c', block), has)).toThrow(`${block.type}: "a" is not in a layer where the others are`)
    }
  })
})
