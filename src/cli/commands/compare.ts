/** @file `peft compare`. */
import { spawn } from 'node:child_process'
import { mkdir, readFile, rm, rmdir } from 'node:fs/promises'
import { arch, cpus } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Trainer } from '../../training/index.ts'
import { writeFileAtomic } from '../../util/files.ts'
import { type CompareSettings, compareOne, RESULT_FILE } from '../compare/one.ts'
import { comparisonReport, comparisonTable } from '../compare/report.ts'
import type { Comparison, FailedMethod, MethodResult } from '../compare/result.ts'
import { type MethodChoice, type MethodSettings, methodSettings } from '../compare/settings.ts'
import { tokenAccuracy } from '../compare/token-accuracy.ts'
import { classificationColumns } from '../data.ts'
import { UsageError } from '../exit.ts'
import { formatSeconds } from '../format.ts'
import { type LocatedModel, locateModel, openBaseModel, openTokenizer } from '../model.ts'
import type { Output } from '../output.ts'
import { taskOptionOf } from '../task.ts'
import { COMPARED_TASKS } from '../task-names.ts'
import { type DataFiles, readFiles, tokenizeFiles } from '../training-data.ts'

/** The options of `peft compare`. */
export interface CompareOptions extends MethodChoice, Omit<CompareSettings, 'model' | 'data'> {
  model?: string
  data?: string
  output: string
}

/** What is compared where nothing is named: the model of this package, and a skill that it lacks. */
function embedded(): Pick<CompareSettings, 'model' | 'data' | 'evalData' | 'retain' | 'task'> {
  const asset = (path: string) => fileURLToPath(new URL(`../../../assets/${path}`, import.meta.url))
  return {
    model: asset('base'),
    data: asset('orders/train.jsonl'),
    evalData: asset('orders/test.jsonl'),
    retain: asset('orders/old-questions.jsonl'),
    task: 'causal_lm',
  }
}

/** Trains every method on one task and writes `compare.json` and `report.html`. */
export async function compare(options: CompareOptions, output: Output, signal?: AbortSignal): Promise<void> {
  const { methods, rate, set, search, output: folder, ...rest } = options
  if ((options.model === undefined) !== (options.data === undefined)) {
    throw new UsageError('--model and --data go together; without both, the embedded model learns its orders')
  }
  const settings = { ...rest, ...(options.model === undefined && embedded()) } as CompareSettings
  if (settings.evalData === undefined && settings.evalSplit === undefined) {
    throw new UsageError('A comparison needs data to test on: --eval-data or --eval-split')
  }
  const located = await locateModel(settings, output)
  if (!COMPARED_TASKS.includes(taskOptionOf(located.task))) {
    throw new UsageError(
      `Methods are compared on --task ${COMPARED_TASKS.join(' and ')}, not ${taskOptionOf(located.task)}`,
    )
  }
  const files = await readFiles(settings, located, output)
  const chosen = methodSettings({ methods, rate, set, search }, located.task === 'SEQ_CLS')
  const started = performance.now()
  const results: MethodResult[] = []
  const failed: FailedMethod[] = []
  for (const [i, method] of chosen.entries()) {
    signal?.throwIfAborted()
    output.note(
      `${i + 1} of ${chosen.length}: ${method.method} (${[`rate ${method.learningRate}`, ...method.set].join(', ')})`,
    )
    const own = join(folder, 'methods', method.method)
    const isNew = (await mkdir(own, { recursive: true })) !== undefined
    try {
      const result = await inOwnProcess(settings, method, own, signal)
      results.push(result)
      output.event('method', { ...result }, `  score ${result.score.toFixed(4)} in ${formatSeconds(result.seconds)}`)
    } catch (error) {
      if (isNew) await removeFailed(folder, own)
      if (signal?.aborted) throw interrupted(folder, results, signal)
      failed.push({ ...method, error: (error as Error).message })
      output.warn(`${method.method}: ${(error as Error).message}`)
    }
  }
  if (results.length === 0) throw new Error('No method could be trained; the reasons stand above')
  const comparison: Comparison = {
    model: options.model ?? 'the embedded base',
    data: options.data ?? 'orders',
    task: taskOptionOf(located.task),
    ...(await scoreFacts(located, files, settings, output)),
    trainExamples: files.train.rows.length,
    evalExamples: files.evaluation!.rows.length,
    settings: {
      ...(settings.maxSteps === undefined ? { epochs: settings.epochs } : { steps: settings.maxSteps }),
      'batch size': settings.batchSize,
      seed: settings.seed,
      mode: settings.mode,
      schedule: 'linear with 5 % warm-up',
      ...(search > 0 && { 'learning rates': `the best of four in ${search} steps on a part of the data` }),
    },
    date: new Date().toISOString().slice(0, 10),
    machine: `${cpus()[0]?.model.trim() ?? arch()} x ${cpus().length}, Node ${process.versions.node}`,
    results,
    failed,
  }
  await writeFileAtomic(join(folder, 'compare.json'), `${JSON.stringify(comparison, null, 2)}\n`)
  await writeFileAtomic(join(folder, 'report.html'), comparisonReport(comparison))
  output.result(
    { command: 'compare', output: folder, ...comparison, wall_seconds: (performance.now() - started) / 1000 },
    [
      ...comparisonTable(comparison),
      '',
      '* no other method is better with fewer trained parameters',
      ...failed.map(({ method, error }) => `not compared: ${method}: ${error}`),
      `report ${join(folder, 'report.html')}`,
    ],
  )
}

/** Removes the folder of a method that came to nothing, and those above it where nothing else stands in them. */
async function removeFailed(folder: string, own: string): Promise<void> {
  await rm(own, { recursive: true, force: true })
  for (const path of [join(folder, 'methods'), folder]) await rmdir(path).catch(() => undefined)
}

/** Says what is left of a comparison that was stopped. */
function interrupted(folder: string, results: readonly MethodResult[], { reason }: AbortSignal): Error {
  const left = results.length
    ? `${results.map(({ method }) => method).join(', ')} were trained, and stand in ${join(folder, 'methods')}; no report was written.`
    : 'Nothing was written.'
  return new Error(`${(reason as Error).message}. ${left}`, { cause: reason })
}

/** What the score of a task is, and what knowing nothing scores. */
async function scoreFacts(
  located: LocatedModel,
  files: DataFiles,
  settings: CompareSettings,
  output: Output,
): Promise<Pick<Comparison, 'measure' | 'chance'>> {
  const evaluation = files.evaluation!
  if (located.task === 'CAUSAL_LM') {
    const tokenizer = await openTokenizer(located)
    const data = tokenizeFiles({ options: settings, located, files, labels: undefined, tokenizer }, output)
    const model = await openBaseModel(located, {}, output)
    const { batchSize, threads } = settings
    const trainer = new Trainer({ model, tokenizer, args: { perDeviceEvalBatchSize: batchSize, threads } })
    return { measure: 'token accuracy', chance: await tokenAccuracy(trainer, data.evaluation!) }
  }
  const { labelColumn } = classificationColumns(evaluation, settings)
  const counts = new Map<string, number>()
  for (const row of evaluation.rows as Iterable<Record<string, unknown>>) {
    const label = String(row[labelColumn])
    counts.set(label, (counts.get(label) ?? 0) + 1)
  }
  return { measure: 'accuracy', chance: Math.max(...counts.values()) / evaluation.rows.length }
}

/** The program itself, and what Node needs to run it from its sources. */
function program(): string[] {
  const isSource = import.meta.url.endsWith('.ts')
  const main = fileURLToPath(new URL(isSource ? '../main.ts' : '../main.js', import.meta.url))
  // Found from here, since the user may be anywhere.
  return isSource ? ['--import', import.meta.resolve('tsx'), main] : [main]
}

/** Trains one method in a process of its own: its memory can be told, and what it leaves behind hinders no other. */
async function inOwnProcess(
  settings: CompareSettings,
  method: MethodSettings,
  folder: string,
  signal: AbortSignal | undefined,
): Promise<MethodResult> {
  await writeFileAtomic(join(folder, 'settings.json'), JSON.stringify({ settings, method }))
  const child = spawn(process.execPath, [...program(), 'compare-method', '--folder', folder, '--quiet'], {
    stdio: ['ignore', 'ignore', 'pipe'],
    signal,
  })
  let errors = ''
  child.stderr.on('data', chunk => {
    errors += chunk
  })
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('close', resolve)
    // One that is told to stop still writes until it has ended.
    child.on('error', error => {
      if (!signal?.aborted) reject(error)
    })
  })
  signal?.throwIfAborted()
  if (code !== 0) {
    const lines = errors.trim().split('\n')
    // A process that could not even start says which Node it was at the end.
    const reason = lines.findLast(line => /^\w*error: /i.test(line)) ?? lines.at(-1)
    throw new Error(reason?.replace(/^error: /, '') || `the process ended with code ${code}`)
  }
  return JSON.parse(await readFile(join(folder, RESULT_FILE), 'utf8')) as MethodResult
}

/** The process of one method: what to do stands in `settings.json` of its folder. */
export async function compareMethod(
  { folder }: { folder: string },
  output: Output,
  signal?: AbortSignal,
): Promise<void> {
  const { settings, method } = JSON.parse(await readFile(join(folder, 'settings.json'), 'utf8')) as {
    settings: CompareSettings
    method: MethodSettings
  }
  await compareOne(settings, method, folder, output, signal)
}
