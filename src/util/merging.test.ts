/** @file Merging of task tensors, checked by its definitions; a few values are those of PEFT 0.21 on torch. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  dareLinear,
  dareTies,
  dropAndRescale,
  keepLargest,
  type MajoritySignMethod,
  magnitudePrune,
  taskArithmetic,
  ties,
} from './merging.ts'
import { Random } from './random.ts'

const TASKS = [
  Float32Array.of(1, -2, 3, -4, 0.5, 0),
  Float32Array.of(-2, -1, 5, 1, -0.25, 0.1),
  Float32Array.of(0.5, 3, -4, 2, 0.25, -3),
]
const WEIGHTS = [1, 0.5, 2]

const value = fc.float({ min: -8, max: 8, noNaN: true })
const tasks = fc.tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 12 })).chain(([count, length]) =>
  fc.array(fc.float32Array({ minLength: length, maxLength: length, min: -8, max: 8, noNaN: true }), {
    minLength: count,
    maxLength: count,
  }),
)
const near = (found: ArrayLike<number>, expected: ArrayLike<number>) => {
  expect(found.length).toBe(expected.length)
  for (let i = 0; i < found.length; i++) expect(Math.abs(found[i] - expected[i])).toBeLessThan(1e-5)
}

describe('task arithmetic', () => {
  it('is the weighted sum, in float32', () => {
    expect([...taskArithmetic(TASKS, WEIGHTS)]).toEqual([1, 3.5, -2.5, 0.5, 0.875, Math.fround(-5.95)])
    fc.assert(
      fc.property(tasks, value, (tensors, weight) => {
        const expected = tensors[0].map((_, i) => tensors.reduce((sum, tensor) => sum + weight * tensor[i], 0))
        const scale = 1 + Math.max(...expected.map(Math.abs))
        const found = taskArithmetic(
          tensors,
          tensors.map(() => weight),
        )
        near(
          found.map(x => x / scale),
          expected.map(x => x / scale),
        )
      }),
    )
  })

  it.each([
    ['no tensors', [], [], 'no task tensors were given'],
    ['a missing weight', TASKS, [1, 2], 'got 2 for 3'],
    ['tensors of different lengths', [new Float32Array(2), new Float32Array(3)], [1, 1], 'got lengths 2, 3'],
  ] as const)('refuses %s', (_, tensors, weights, message) => {
    expect(() => taskArithmetic(tensors, weights)).toThrow(message)
  })
})

describe('pruning by magnitude', () => {
  it('keeps floor(density * length) elements, none smaller than one that it drops', () => {
    fc.assert(
      fc.property(
        fc.float32Array({ minLength: 1, maxLength: 20 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (tensor, density) => {
          const kept = keepLargest(tensor, density)
          const isKept = [...kept].map((x, i) => x !== 0 || tensor[i] === 0)
          const count = density >= 1 ? tensor.length : Math.floor(density * tensor.length)
          expect([...kept].filter(x => x !== 0).length).toBeLessThanOrEqual(count)
          if (!tensor.includes(0)) expect(isKept.filter(Boolean)).toHaveLength(count)
          const magnitudes = [...tensor].map(x => (Number.isNaN(x) ? Infinity : Math.abs(x)))
          const smallest = Math.min(...magnitudes.filter((_, i) => isKept[i] && tensor[i] !== 0))
          for (const [i, x] of magnitudes.entries()) if (!isKept[i]) expect(x).toBeLessThanOrEqual(smallest)
          for (const [i, x] of kept.entries()) if (x !== 0) expect(x).toBe(tensor[i])
        },
      ),
    )
  })

  it('keeps the first of equal elements, and a view of a longer array as it is', () => {
    expect([...keepLargest(Float32Array.of(9, 1, -1, 1, 2).subarray(1), 0.5)]).toEqual([1, 0, 0, 2])
  })

  it('keeps all from a density of 1 and nothing at 0', () => {
    expect([...keepLargest(TASKS[0], 1.5)]).toEqual([...TASKS[0]])
    expect([...keepLargest(TASKS[0], 0)]).toEqual([0, 0, 0, 0, 0, 0])
    expect(() => keepLargest(TASKS[0], -0.1)).toThrow('The density must be 0 or more, got -0.1')
    expect(() => keepLargest(TASKS[0], Number.NaN)).toThrow('got NaN')
  })

  it('comes before the weighted sum', () => {
    near(magnitudePrune(TASKS, WEIGHTS, 0.59), [-1, 3.5, -2.5, -4, 0, -6])
    near(magnitudePrune(TASKS, WEIGHTS, 1), taskArithmetic(TASKS, WEIGHTS))
  })
})

describe('TIES', () => {
  it.each<[MajoritySignMethod, number, number[]]>([
    ['total', 0.5, [-1, 6, 2.75, -4, 0, -6]],
    ['total', 1, [-1, 6, 2.75, -4, 0.5, -6]],
    ['frequency', 0.5, [-1, -1.25, 2.75, -4, 0, -6]],
    ['frequency', 1, [1, -1.25, 2.75, 2.25, 0.5, 0.05]],
  ])('with the sign elected by %s and density %s gives what PEFT gives', (method, density, expected) => {
    near(ties(TASKS, WEIGHTS, density, method), expected)
  })

  it('is the mean of the elements that agree with the elected sign', () => {
    fc.assert(
      fc.property(tasks, fc.constantFrom<MajoritySignMethod>('total', 'frequency'), (tensors, method) => {
        const expected = tensors[0].map((_, i) => {
          const at = tensors.map(tensor => tensor[i])
          const votes = at.map(x => (method === 'total' ? x : Math.sign(x))).reduce((a, b) => Math.fround(a + b), 0)
          const agreeing = at.filter(x => (votes >= 0 ? x > 0 : x < 0))
          return agreeing.length ? agreeing.reduce((a, b) => a + b, 0) / agreeing.length : 0
        })
        near(
          ties(
            tensors,
            tensors.map(() => 1),
            1,
            method,
          ),
          expected,
        )
      }),
    )
  })

  it('refuses another way to elect', () => {
    expect(() => ties(TASKS, WEIGHTS, 1, 'mean' as MajoritySignMethod)).toThrow('"total" or "frequency", got "mean"')
  })
})

describe('DARE', () => {
  const long = Float32Array.from({ length: 20_000 }, (_, i) => 1 + (i % 7))

  it('drops elements at random and divides the others by the density', () => {
    const dropped = dropAndRescale(long, 0.25, new Random(1))
    const kept = dropped.filter(x => x !== 0).length
    expect(kept / long.length).toBeCloseTo(0.25, 1)
    for (const [i, x] of dropped.entries()) if (x !== 0) expect(x).toBe(4 * long[i])
    const mean = (values: Float32Array) => values.reduce((a, b) => a + b, 0) / values.length
    expect(Math.abs(mean(dropped) / mean(long) - 1)).toBeLessThan(0.05)
  })

  it('draws another mask for each tensor, and the same ones for a seed', () => {
    const merge = (seed: number) => dareLinear([long, long], [1, 10], 0.5, new Random(seed))
    expect(merge(3)).toEqual(merge(3))
    expect(merge(3)).not.toEqual(merge(4))
    const ones = new Float32Array(1000).fill(1)
    const sums = dareLinear([ones, ones], [1, 10], 0.5, new Random(3))
    expect([...new Set(sums)].sort((a, b) => a - b)).toEqual([0, 2, 20, 22])
  })

  it('merges as task arithmetic and as TIES do where nothing is dropped', () => {
    near(dareLinear(TASKS, WEIGHTS, 1, new Random(0)), taskArithmetic(TASKS, WEIGHTS))
    near(dareTies(TASKS, WEIGHTS, 1, new Random(0), 'frequency'), ties(TASKS, WEIGHTS, 1, 'frequency'))
  })

  it('elects the sign among what was kept', () => {
    const random = () => new Random(9)
    const shared = random()
    const kept = TASKS.map(task => dropAndRescale(task, 0.5, shared))
    near(dareTies(TASKS, WEIGHTS, 0.5, random()), ties(kept, WEIGHTS, 1))
  })

  it('refuses a density of 0', () => {
    expect(() => dareLinear(TASKS, WEIGHTS, 0, new Random(0))).toThrow('The density must be above 0, got 0')
  })
})
