/** @file `npm run bench`: measures training beside PyTorch and PEFT, and trains on real tasks; `--help` shows the options. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { describeMachine } from './lib/machine.mjs'
import { CACHE, ROOT } from './lib/paths.mjs'
import { Peer } from './lib/peer.mjs'
import {
  epochTable,
  epochVerdict,
  generationTable,
  machineLine,
  mixedTable,
  quantizedLossTable,
  quantizedTable,
  renderDocument,
  stepTable,
  taskTable,
  verdicts,
} from './lib/report.mjs'
import { SECTIONS } from './lib/sections.mjs'
import { SHAPES } from './lib/shapes.mjs'

const HELP = `npm run bench -- [options]

  --only LIST     of ${Object.keys(SECTIONS).join(',')} (all)
  --shapes LIST   of ${Object.keys(SHAPES).join(',')} (all)
  --steps N       measured steps of a process (5)
  --repeat N      processes of each kind, seeds of an epoch (3)
  --rows N        training rows of the tasks (8000 of SST-2, all of an epoch, 1000 of WikiSQL); adapters to load (100
                  of mixed)
  --no-peer       leave the peer out
  --write         measure nothing; write docs/benchmarks.md from the last results of each measurement

The peer's virtual environment is the folder PEFT_TS_PEER_VENV, or .cache/peer; it is made where it is not there.
Results are kept in .cache/bench/results.json.`

const RESULTS = join(CACHE, 'results.json')
const DOCUMENT = join(ROOT, 'docs/benchmarks.md')

/** Measurements of ours alone. */
const WITHOUT_PEER = ['wikisql', 'quantized', 'quantizedLoss']

/** A wrong option: exit code 2. */
class UsageError extends Error {}

try {
  main(readOptions())
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = error instanceof UsageError ? 2 : 1
}

/** @typedef {ReturnType<typeof readOptions>} Options */

/** @param {Options} options */
function main({ help, write, only, noPeer, ...plan }) {
  if (help) return console.log(HELP)
  if (write) {
    writeWhole(DOCUMENT, renderDocument(readResults()))
    return console.log(`wrote ${DOCUMENT}`)
  }
  build()
  mkdirSync(CACHE, { recursive: true })
  const isNeeded = only.some(name => !WITHOUT_PEER.includes(name))
  const without = noPeer ? '--no-peer was given' : isNeeded ? undefined : 'no measurement needs it'
  const peer = without ?? Peer.prepare()
  if (isNeeded && typeof peer === 'string') console.error(`The peer is not run: ${peer}. Ours is measured alone.`)
  const isMissing = typeof peer === 'string'
  for (const name of only) {
    const hasPeer = !WITHOUT_PEER.includes(name)
    const machine = describeMachine(isMissing || !hasPeer ? {} : peer.versions)
    const measured = SECTIONS[name]({ ...plan, peer: isMissing ? undefined : peer })
    const section = {
      date: new Date().toISOString().slice(0, 10),
      machine,
      ...(isMissing && hasPeer && { peerMissing: peer }),
      ...measured,
    }
    writeWhole(RESULTS, `${JSON.stringify({ ...readResults(), [name]: section }, null, 2)}\n`)
    console.log(['', name, machineLine(section), '', ...tables(name, section.rows)].join('\n'))
  }
}

/** What is shown of a measurement. @param {string} name @param {any[]} rows */
function tables(name, rows) {
  if (name === 'step') return [stepTable(rows), ...verdicts(rows)]
  if (name === 'generate') return [generationTable(rows)]
  if (name === 'epoch') return [epochTable(rows), ...epochVerdict(rows)]
  if (name === 'quantized') return [quantizedTable(rows)]
  if (name === 'quantizedLoss') return [quantizedLossTable(rows)]
  return [name === 'mixed' ? mixedTable(rows) : taskTable(rows)]
}

/** The measured programs run on what users get: plain JavaScript in dist/. */
function build() {
  console.error('building dist/')
  const { status, stdout, error } = spawnSync('npm', ['run', 'build'], {
    cwd: ROOT,
    encoding: 'utf8',
    shell: process.platform === 'win32',
  })
  if (status !== 0) throw new Error(`npm run build failed (${error?.message ?? `exit code ${status}`}).\n${stdout}`)
}

function readOptions() {
  const { values } = parse()
  return {
    help: values.help ?? false,
    write: values.write ?? false,
    noPeer: values['no-peer'] ?? false,
    only: /** @type {(keyof typeof SECTIONS)[]} */ (choose('only', values.only, Object.keys(SECTIONS))),
    shapes: choose('shapes', values.shapes, Object.keys(SHAPES)),
    steps: whole('steps', values.steps) ?? 5,
    repeat: whole('repeat', values.repeat) ?? 3,
    rows: whole('rows', values.rows),
  }
}

function parse() {
  const text = /** @type {const} */ ({ type: 'string' })
  const flag = /** @type {const} */ ({ type: 'boolean' })
  try {
    return parseArgs({
      options: {
        only: text,
        shapes: text,
        steps: text,
        repeat: text,
        rows: text,
        'no-peer': flag,
        write: flag,
        help: flag,
      },
    })
  } catch (error) {
    throw new UsageError(`${/** @type {Error} */ (error).message}\n\n${HELP}`)
  }
}

/** @param {string} option @param {string | undefined} given @param {string[]} known */
function choose(option, given, known) {
  const chosen = given?.split(',') ?? known
  const stranger = chosen.find(name => !known.includes(name))
  if (stranger === undefined) return chosen
  throw new UsageError(`--${option} names "${stranger}", expected some of ${known.join(', ')}`)
}

/** @param {string} option @param {string | undefined} given */
function whole(option, given) {
  if (given === undefined) return undefined
  if (/^[1-9]\d*$/.test(given)) return Number(given)
  throw new UsageError(`--${option} is ${given}, expected a whole number from 1 on`)
}

/** @returns {import('./lib/results.ts').Results} */
function readResults() {
  return existsSync(RESULTS) ? JSON.parse(readFileSync(RESULTS, 'utf8')) : {}
}

/** Writes a file whole or not at all. @param {string} path @param {string} text */
function writeWhole(path, text) {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(`${path}.tmp`, text)
  renameSync(`${path}.tmp`, path)
}
