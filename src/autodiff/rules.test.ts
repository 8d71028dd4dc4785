/** @file Every gradient rule against central finite differences. */
import { describe, expect, it } from 'vitest'
import { reachableNodes } from '../graph/index.ts'
import { defineGradient, differentiableOperators } from './index.ts'
import { CONV_CASES } from './testing/conv-cases.ts'
import { ELEMENTWISE_CASES } from './testing/elementwise-cases.ts'
import { gradientErrors, trace } from './testing/finite-differences.ts'
import { MATMUL_CASES } from './testing/matmul-cases.ts'
import { RANKING_CASES } from './testing/ranking-cases.ts'
import { REDUCE_CASES } from './testing/reduce-cases.ts'
import { SHAPE_CASES } from './testing/shape-cases.ts'

const GROUPS = {
  'element by element': ELEMENTWISE_CASES,
  'matrix products': MATMUL_CASES,
  'convolutions and pooling': CONV_CASES,
  'reductions, normalisations and losses': REDUCE_CASES,
  'moving and picking elements': SHAPE_CASES,
  'running sums and ranking': RANKING_CASES,
}

describe('the table of gradient rules', () => {
  it('has a case below for every operator', () => {
    const covered = new Set(
      Object.values(GROUPS)
        .flat()
        .flatMap(test => reachableNodes([trace(test).output]).map(node => node.op)),
    )
    expect(differentiableOperators().filter(op => !covered.has(op))).toEqual([])
  })

  it('refuses a second rule for an operator', () => {
    expect(() => defineGradient('Add', () => {})).toThrow('The operator Add already has a gradient rule')
  })
})

describe.each(Object.entries(GROUPS))('the gradient equals finite differences: %s', (_, cases) => {
  it.each(cases.map(test => [test.name, test] as const))('%s', async (_, test) => {
    for (const { input, error } of await gradientErrors(test)) expect(error, `input ${input}`).toBeLessThan(2e-3)
  })
})
