/** @file Trainings in a process of their own that are killed, and what they leave on disk. */
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { expect } from 'vitest'
import { temporaryFolder } from '../../../test/temporary.ts'
import type { RunEvent } from '../../monitoring/events.ts'
import { linesOf } from '../../monitoring/page/data.js'
import { RunReader } from '../../monitoring/runs.ts'
import { shownValues } from '../../monitoring/testing/event-file.ts'
import type { Random } from '../../util/random.ts'
import { peft, reviews, saveTinyBert } from './peft.ts'

const main = resolve(import.meta.dirname, '../main.ts')

/** How a process ended. */
export interface Ended {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

/** Starts `peft` in a process of its own; `shell` puts words such as limits in front. */
export function startPeft(argv: readonly string[], shell = ''): { child: ChildProcess; ended: Promise<Ended> } {
  const command = [process.execPath, '--import', 'tsx', main, ...argv]
  const child = spawn('bash', ['-c', `${shell} exec "$@"`, 'bash', ...command], { stdio: ['ignore', 'pipe', 'pipe'] })
  const written = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) child[name]!.on('data', data => void (written[name] += data))
  const ended = new Promise<Ended>(done => child.on('close', (code, signal) => done({ code, signal, ...written })))
  return { child, ended }
}

/** A training with all that a checkpoint has to hold: dropout, accumulation, evaluations, the best values. */
export async function longTraining(steps: number) {
  const folder = await temporaryFolder({ 'train.tsv': reviews(30), 'test.tsv': reviews(8) })
  const path = (name: string) => join(folder, name)
  const model = await saveTinyBert(folder)
  const call = (output: string) => [
    ...['train', '--model', model, '--data', path('train.tsv'), '--eval-data', path('test.tsv'), '--task', 'seq_cls'],
    ...['--set', 'lora_dropout=0.3', '--threads', '1', '--batch-size', '4', '--gradient-accumulation', '2'],
    ...['--max-steps', `${steps}`, '--eval-steps', '3', '--load-best', '--save-steps', '2', '--logging-steps', '3'],
    ...['--early-stopping-patience', '1000', '--on-non-finite', 'backoff', '--json', '--output', path(output)],
  ]
  const whole = await peft(call('whole'))
  expect([whole.code, whole.stderr], whole.stdout).toEqual([0, ''])
  return { path, call, expected: await hashes(path('whole')), record: await recorded(path('whole')) }
}

/** Files that say how long things took. */
const TIMED = /^(timing\.json|metrics\.jsonl|events\.out\.tfevents.*)$/

/** The files of a tree, each with the hash of its content; those that say how long things took are left out. */
export async function hashes(folder: string): Promise<Record<string, string>> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true })
  const files = entries.filter(entry => entry.isFile() && !TIMED.test(entry.name))
  const paths = files.map(({ parentPath, name }) => join(parentPath, name)).sort()
  const contents = await Promise.all(paths.map(file => readFile(file)))
  return Object.fromEntries(
    paths.map((file, i) => [file.slice(folder.length + 1), createHash('sha256').update(contents[i]).digest('hex')]),
  )
}

/** What is measured of the machine and not of the training, and who trained when. */
const OF_THE_MACHINE = /^(time|(train\/)?(memory_bytes|tokens_per_second)|seconds_per_step|pid|host)$/

/** What processes come and go, and what each of them says of the checkpoints that it wrote. */
const OF_THE_PROCESS = ['start', 'resume', 'save', 'pause', 'error']

/** What a folder says of a training, in `metrics.jsonl`, on the page and in TensorBoard; measurements of the machine left out. */
export async function recorded(folder: string) {
  const { events } = await new RunReader(folder).read()
  const ofTraining = <Value>(entries: Iterable<readonly [string, Value]>) =>
    Object.fromEntries([...entries].filter(([name]) => !OF_THE_MACHINE.test(name)))
  const values = (await shownValues(folder)).filter(({ tag }) => !OF_THE_MACHINE.test(tag) && tag !== 'arguments')
  return {
    events: events
      .filter(({ event }) => !OF_THE_PROCESS.includes(event))
      .map(event => ofTraining(Object.entries(event)) as Omit<RunEvent, 'time'>),
    lines: ofTraining(linesOf(events, 'step')),
    values: values.sort((a, b) => (a.tag < b.tag ? -1 : a.tag > b.tag ? 1 : a.step - b.step)),
  }
}

/** What TensorBoard has to show where it agrees with lines of the page, in the order of {@link recorded}. */
export function scalarsOf(lines: Awaited<ReturnType<typeof recorded>>['lines']) {
  const tagged = Object.entries(lines).map(([name, line]) => [
    name.startsWith('eval_') ? name.replace('_', '/') : `train/${name}`,
    line,
  ]) as [string, (typeof lines)[string]][]
  return tagged
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([tag, { x, y }]) => x.map((step, i) => ({ step, tag, scalar: Math.fround(y[i]) })))
}

/** Whether a process has written that it begins to train. */
const begins = (data: unknown) => `${data}`.includes('"event":"start"')

/** What a whole training takes from its first step on until its process ends, in milliseconds. */
export async function timeTraining(argv: readonly string[]): Promise<number> {
  const { child, ended } = startPeft(argv)
  let started = performance.now()
  child.stdout!.on('data', data => {
    if (begins(data)) started = performance.now()
  })
  await ended
  return performance.now() - started
}

/**
 * Starts a training and kills it at a random moment.
 *
 * @param trained what a whole training takes from its first step on, in milliseconds
 * @returns whether it was killed before it ended
 */
export async function killAtRandom(argv: readonly string[], random: Random, trained: number): Promise<boolean> {
  const { child, ended } = startPeft(argv)
  const kill = () => child.kill('SIGKILL')
  // Now and then while it opens the model, mostly while it trains.
  if (random.uniform() < 0.1) setTimeout(kill, random.uniform() * 1500)
  let seen = false
  child.stdout!.on('data', data => {
    if (seen || !begins(data)) return
    seen = true
    setTimeout(kill, random.uniform() * trained)
  })
  return (await ended).signal === 'SIGKILL'
}
