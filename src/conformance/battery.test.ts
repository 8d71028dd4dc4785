/** @file Every registered method through the battery, and what the battery finds in methods that are wrong. */
import { describe, expect, it } from 'vitest'
import { peftTypes } from '../peft/index.ts'
import { checkConformance } from './index.ts'

describe.each(peftTypes())('%s', peftType => {
  it('passes the conformance battery', { timeout: 120_000 }, async () => {
    const { findings } = await checkConformance(peftType)
    expect(findings.filter(({ failure }) => failure !== undefined)).toEqual([])
  })
})
