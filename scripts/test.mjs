/** @file `npm test`: runs vitest, then says what was skipped and why, which files are slow, and what the run is worth. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { countsLine, judge, oracleIsThere } from './verdict.mjs'

const SLOW_SECONDS = 1
const SLOWEST_SHOWN = 15

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const vitest = join(dirname(createRequire(import.meta.url).resolve('vitest/package.json')), 'vitest.mjs')
const cache = join(root, '.cache')
const reportPath = join(cache, 'test-report.json')
const ownReport = join(cache, `test-report-${process.pid}.json`)

const extra = process.argv.slice(2)
const filtered = extra.some(arg => /^(-t|--testNamePattern|--test-name-pattern)(=|$)/.test(arg))
mkdirSync(cache, { recursive: true })
process.on('SIGINT', () => {})
const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${ownReport}`]
const run = spawnSync(process.execPath, [vitest, 'run', ...reporters, ...extra], { cwd: root, stdio: 'inherit' })

if (existsSync(ownReport)) {
  const report = { ...JSON.parse(readFileSync(ownReport, 'utf8')), exitCode: run.status ?? 1 }
  const verdict = judge(report, { oracleIsThere: oracleIsThere(root), filtered })
  print(verdict)
  writeFileSync(reportPath, JSON.stringify(report))
  rmSync(ownReport)
  process.exitCode = run.status || (verdict.failed > 0 ? 1 : 0)
} else {
  console.error(`The runner wrote no report (${run.error?.message ?? run.signal ?? `exit code ${run.status}`}).`)
  console.log(countsLine({ passed: 0, failed: 1, skipped: 0 }))
  process.exitCode = run.status || 1
}

/** @param {ReturnType<typeof judge>} verdict */
function print({ skips, failures, files, oracle, ...counts }) {
  const slow = files.filter(file => file.seconds >= SLOW_SECONDS).sort((a, b) => b.seconds - a.seconds)
  if (slow.length) console.log(`\nSlow files (${SLOW_SECONDS} s or more):`)
  for (const { name, seconds, tests } of slow.slice(0, SLOWEST_SHOWN)) {
    console.log(`  ${seconds.toFixed(1).padStart(6)} s  ${String(tests).padStart(4)} tests  ${relative(root, name)}`)
  }
  if (slow.length > SLOWEST_SHOWN) console.log(`  and ${slow.length - SLOWEST_SHOWN} more`)
  if (skips.length) console.log('\nSkipped:')
  for (const { name, reason } of skips) console.log(`  ${name}: ${reason}`)
  if (failures.length) console.log('\nFailures beyond single tests:')
  for (const failure of failures) console.log(`  ${failure}`)
  console.log(`\n${files.length} files, ${oracle} oracle tests ran`)
  console.log(countsLine(counts))
}
