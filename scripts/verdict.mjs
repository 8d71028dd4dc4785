/** @file What a test run is worth: counts, reasons for skipping, and failures that the runner itself does not see. */
import { existsSync, readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * @typedef {{ fullName: string, title: string, ancestorTitles: string[], status: string }} TestResult one test of the report
 * @typedef {{ name: string, status: string, message?: string, startTime: number, endTime: number, assertionResults: TestResult[] }} FileResult
 * @typedef {{ success: boolean, exitCode?: number, testResults: FileResult[] }} Report vitest's JSON report, with its exit code
 * @typedef {{ passed: number, failed: number, skipped: number, oracle: number,
 *   skips: { name: string, reason: string }[], failures: string[], files: { name: string, seconds: number, tests: number }[] }} Verdict
 */

const REASON = /#skip:\s*(\S.*)/

/**
 * Judges a report. Beyond the runner's own failures it fails a skipped test that gives no reason (`#skip: reason` in its
 * name or a name around it) and, where the oracle is there, every `oracle:` test that did not run.
 * @param {Report} report
 * @param {{ oracleIsThere: boolean, filtered?: boolean }} options filtered: tests were chosen by name, so that the others
 *   count as not asked for
 * @returns {Verdict}
 */
export function judge(report, { oracleIsThere, filtered = false }) {
  /** @type {Verdict} */
  const verdict = { passed: 0, failed: 0, skipped: 0, oracle: 0, skips: [], failures: [], files: [] }
  for (const file of report.testResults) {
    const ran = file.assertionResults.filter(test => test.status === 'passed' || test.status === 'failed')
    verdict.files.push({ name: file.name, seconds: (file.endTime - file.startTime) / 1000, tests: ran.length })
    const brokenFile = file.status === 'failed' && !file.assertionResults.some(test => test.status === 'failed')
    if (brokenFile) {
      verdict.failed++
      verdict.failures.push(`${file.name}: ${file.message?.split('\n')[0] || 'the file failed outside its tests'}`)
    }
    for (const test of file.assertionResults) judgeTest(test, verdict, oracleIsThere, filtered, brokenFile)
  }
  if ((!report.success || report.exitCode) && verdict.failed === 0) {
    verdict.failed++
    verdict.failures.push('the run failed outside the tests; its message stands above')
  }
  return verdict
}

/**
 * @param {TestResult} test
 * @param {Verdict} verdict
 * @param {boolean} oracleIsThere
 * @param {boolean} filtered
 * @param {boolean} brokenFile its tests did not run because the file failed, which is counted once for the file
 */
function judgeTest(test, verdict, oracleIsThere, filtered, brokenFile) {
  const titles = [...test.ancestorTitles, test.title]
  const isOracle = titles.some(title => title.startsWith('oracle:'))
  const name = titles.filter(title => title !== '').join(' > ')
  if (test.status === 'passed' || test.status === 'failed') {
    verdict[test.status]++
    if (isOracle) verdict.oracle++
    return
  }
  const reason = titles.map(title => REASON.exec(title)?.[1]).find(found => found !== undefined)
  if (filtered && reason === undefined) return
  if (isOracle && oracleIsThere) {
    verdict.failed++
    verdict.failures.push(`${name}: did not run although ../shared/oracle is there`)
  } else if (reason !== undefined) {
    verdict.skipped++
    verdict.skips.push({ name: name.replace(REASON, '').trim(), reason })
  } else if (brokenFile) {
    verdict.skipped++
  } else {
    verdict.failed++
    verdict.failures.push(`${name}: skipped without a reason; write it into the name, as in "name #skip: reason"`)
  }
}

/** @param {Pick<Verdict, 'passed' | 'failed' | 'skipped'>} verdict @returns {string} the line that ends a run */
export function countsLine({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`
}

/** @param {string} root the root of the repository */
export function oracleIsThere(root) {
  return existsSync(resolve(root, '../shared/oracle'))
}

const self = fileURLToPath(import.meta.url)
if (process.argv[1] && resolve(process.argv[1]) === self) {
  const path = process.argv[2]
  if (!path || !existsSync(path)) {
    console.error(`There is no test report${path ? ` at ${path}` : ''}: the runner did not get as far as writing one.`)
    console.log(countsLine({ passed: 0, failed: 1, skipped: 0 }))
    process.exitCode = 1
  } else {
    const report = JSON.parse(readFileSync(path, 'utf8'))
    console.log(countsLine(judge(report, { oracleIsThere: oracleIsThere(resolve(dirname(self), '..')) })))
  }
}
