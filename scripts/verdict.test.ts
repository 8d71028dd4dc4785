/** @file Tests of the verdict over a test run. */
import { describe, expect, it } from 'vitest'
import { countsLine, judge } from './verdict.mjs'

function report(tests: [titles: string[], status: string][], file: { status?: string; message?: string } = {}) {
  const assertionResults = tests.map(([titles, status]) => ({
    fullName: titles.join(' '),
    title: titles[titles.length - 1],
    ancestorTitles: titles.slice(0, -1),
    status,
  }))
  const failed = file.status === 'failed' || tests.some(([, status]) => status === 'failed')
  const result = { name: 'a.test.ts', status: failed ? 'failed' : 'passed', startTime: 1000, endTime: 3500 }
  return { success: !failed, testResults: [{ ...result, ...file, assertionResults }] }
}

describe('judge', () => {
  it('counts what passed, failed and was skipped for a reason', () => {
    const verdict = judge(
      report([
        [['adds'], 'passed'],
        [['group', 'divides'], 'failed'],
        [['reads #skip: the file is not here'], 'skipped'],
      ]),
      { oracleIsThere: true },
    )
    expect(countsLine(verdict)).toBe('1 passed, 1 failed, 1 skipped')
    expect(verdict.skips).toEqual([{ name: 'reads', reason: 'the file is not here' }])
    expect(verdict.failures).toEqual([])
    expect(verdict.files).toEqual([{ name: 'a.test.ts', seconds: 2.5, tests: 2 }])
  })

  it('takes the reason from the group around a test', () => {
    const verdict = judge(report([[['group #skip: no network', 'fetches'], 'skipped']]), { oracleIsThere: false })
    expect(verdict.skips[0].reason).toBe('no network')
    expect(verdict.failed).toBe(0)
  })

  it.each(['skipped', 'todo', 'pending'])('fails a test that is %s without a reason', status => {
    const verdict = judge(report([[['reads #skip:'], status]]), { oracleIsThere: false })
    expect(countsLine(verdict)).toBe('0 passed, 1 failed, 0 skipped')
    expect(verdict.failures[0]).toContain('skipped without a reason')
  })

  it('fails an oracle test that did not run where the oracle is there, whatever its reason', () => {
    const run = report([[['oracle: bert #skip: too slow', 'logits'], 'skipped']])
    const verdict = judge(run, { oracleIsThere: true })
    expect(verdict.failed).toBe(1)
    expect(verdict.failures[0]).toContain('oracle: bert')
    expect(judge(run, { oracleIsThere: false }).failed).toBe(0)
  })

  it('lets tests go that a name filter did not choose', () => {
    const run = report([
      [['oracle: bert'], 'skipped'],
      [['adds'], 'passed'],
    ])
    expect(countsLine(judge(run, { oracleIsThere: true, filtered: true }))).toBe('1 passed, 0 failed, 0 skipped')
  })

  it('counts a file that could not be loaded as one failure', () => {
    const verdict = judge(report([], { status: 'failed', message: 'Cannot find module\nat x' }), {
      oracleIsThere: true,
    })
    expect(verdict.failed).toBe(1)
    expect(verdict.failures).toEqual(['a.test.ts: Cannot find module'])
  })

  it('fails a run that ended badly although every test passed', () => {
    const run = report([[['adds'], 'passed']])
    expect(judge({ ...run, success: false }, { oracleIsThere: false }).failed).toBe(1)
    expect(judge({ ...run, exitCode: 1 }, { oracleIsThere: false }).failed).toBe(1)
    expect(judge({ ...run, exitCode: 0 }, { oracleIsThere: false }).failed).toBe(0)
  })
})
