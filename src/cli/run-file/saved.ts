/** @file Writing run files: the resolved one beside what was trained, and a commented one to begin with. */

import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, isAbsolute, join, relative, resolve, sep } from 'node:path'
import { stringify } from 'yaml'
import { TrainingArguments } from '../../training/arguments.ts'
import { writeFileAtomic } from '../../util/files.ts'
import { camelCase } from '../../util/spelling.ts'
import { fits } from '../../util/value-schema.ts'
import { methodConfig, methodOptionNames, parseAssignments } from '../assignments.ts'
import type { TrainOptions } from '../commands/train.ts'
import { UsageError } from '../exit.ts'
import { namedMethods } from '../methods.ts'
import type { TrainingRecord } from '../record.ts'
import { taskOptionOf } from '../task.ts'
import type { Run } from './apply.ts'
import { type RunKey, type Section, sentence } from './keys.ts'

/** The name of the resolved run beside what was trained. */
export const RUN_FILE = 'run.yaml'

const require = createRequire(import.meta.url)

/** What a run is made with. */
export function versions(): Record<string, string> {
  const versionOf = (path: string) => (require(path) as { version: string }).version
  return {
    'peft-ts': versionOf('../../../package.json'),
    'onnxruntime-node': versionOf('onnxruntime-node/package.json'),
    node: process.versions.node,
  }
}

/** Where editors find the schema of run files. */
export function schemaUrl(): string {
  const [major, minor] = versions()['peft-ts'].split('.')
  return `https://unpkg.com/peft-ts@${major}.${minor}/assets/run.schema.json`
}

/** Flags that say what to do with the folder this time. */
const NOT_REPEATED = ['overwrite', 'resume']

/** What a training turned out to be run with. */
export interface ResolvedRun {
  options: TrainOptions
  args: TrainingArguments
  keys: readonly RunKey[]
  record: TrainingRecord
  /** Whether the columns of the training data can be named for all data. */
  sameColumns: boolean
}

/** Writes the run with every default filled in, so that the file alone repeats it. Paths are relative to `folder`. */
export async function writeResolvedRun(folder: string, run: ResolvedRun): Promise<void> {
  const { keys } = run
  const values = resolvedValues(folder, run)
  const lines = [
    ...header('The resolved options of the training beside it. peft train run.yaml --output FOLDER repeats it.'),
    ...section('run', keys, values),
    ...methodLines(run.options, { complete: true }),
    ...section('data', keys, values),
    ...section('training', keys, values),
    'versions:',
    ...Object.entries(versions()).map(([name, version]) => `  ${name}: ${JSON.stringify(version)}`),
  ]
  await writeFileAtomic(join(folder, RUN_FILE), `${lines.join('\n')}\n`)
}

function header(what: string): string[] {
  return [`# yaml-language-server: $schema=${schemaUrl()}`, `# ${what}`]
}

function resolvedValues(
  folder: string,
  { options, args, keys, record, sameColumns }: ResolvedRun,
): Map<RunKey, unknown> {
  const { labels, columns, format, max_length: maxLength } = record
  const found: Record<string, unknown> = {
    output: '.',
    task: taskOptionOf(record.task),
    labels,
    format,
    maxLength,
    ...(sameColumns && Object.keys(columns).length > 0 && { columns }),
  }
  const training = trainingValues(args, keys)
  const values = new Map<RunKey, unknown>()
  for (const key of keys) {
    const own = (options as unknown as Record<string, unknown>)[key.attribute]
    const value = key.section === 'training' ? training[key.name] : (found[key.attribute] ?? own)
    if (value === undefined || value === null || NOT_REPEATED.includes(key.attribute)) continue
    values.set(key, key.isPath && key.attribute !== 'output' ? seenFrom(folder, key, value as string) : value)
  }
  return values
}

/** A path as it has to be written in a file in `folder`. */
function seenFrom(folder: string, { attribute }: RunKey, path: string): string {
  const isHubId = attribute === 'model' && !existsSync(path) && /^[\w-][\w.-]*(\/[\w.-]+)?$/.test(path)
  if (isAbsolute(path) || isHubId) return path
  const seen = relative(folder, resolve(path)).split(sep).join('/') || '.'
  return seen.startsWith('..') || isAbsolute(seen) ? seen : `./${seen}`
}

/** All training options as they were, but for those that say nothing where others are as they are. */
function trainingValues(args: TrainingArguments, keys: readonly RunKey[]): Record<string, unknown> {
  const given: Record<string, unknown> = { outputDir: '.' }
  for (const { name, section: part, schema } of keys.filter(({ training }) => training !== undefined)) {
    const value = args[name as keyof TrainingArguments]
    if (part === 'training' && fits(value, schema) && isTaken({ ...given, [name]: value })) given[name] = value
  }
  const { outputDir: _, ...values } = given
  return values
}

/** Options such as `spikeFactor` are refused where nothing reads them. */
function isTaken(options: object): boolean {
  try {
    return Boolean(new TrainingArguments(options))
  } catch {
    return false
  }
}

/** The lines of one part of a file. A key without a value stands there as a comment, where there are comments. */
function section(
  part: Section,
  keys: readonly RunKey[],
  values: ReadonlyMap<RunKey, unknown>,
  about?: Descriptions,
): string[] {
  const indent = part === 'run' ? '' : '  '
  const lines = keys
    .filter(key => key.section === part)
    .flatMap(key => {
      const { name, initial } = key
      const comment = about ? [`${indent}# ${about(key)}`] : []
      if (values.has(key)) return [...comment, `${indent}${name}: ${inline(values.get(key))}`]
      const without = `${indent}# ${name}: ${initial === undefined ? '' : inline(initial)}`
      return about ? [...comment, without.trimEnd()] : []
    })
  return part === 'run' ? lines : [`${part}:`, ...lines]
}

/** A value on one line, in quotes wherever another version of YAML would read something else. */
function inline(value: unknown): string {
  return stringify(value, {
    collectionStyle: 'flow',
    flowCollectionPadding: true,
    lineWidth: 0,
    blockQuote: false,
    compat: 'yaml-1.1',
  }).trimEnd()
}

function methodLines(
  { method, set }: Pick<TrainOptions, 'method' | 'set'>,
  { complete }: { complete: boolean },
): string[] {
  const names = methodOptionNames(method)
  if (names.length === 0) return ['method:', `  name: ${method}`]
  const given = Object.keys(parseAssignments(set))
  const config = methodConfig(method, null, set).toJSON()
  const line = (name: string) => `${camelCase(name)}: ${inline(config[name])}`
  return [
    'method:',
    `  name: ${method}`,
    ...names.filter(name => complete || given.includes(name)).map(name => `  ${line(name)}`),
    ...(complete ? [] : names.filter(name => !given.includes(name)).map(name => `  # ${line(name)}`)),
  ]
}

/** What a key means, in one line. */
type Descriptions = (key: RunKey) => string

/**
 * Writes a commented run file with what was given; everything else stands there as a comment.
 *
 * @throws {UsageError} when the file is there and may not be replaced
 */
export async function writeRunTemplate(path: string, { options, keys, given }: Run): Promise<void> {
  if (existsSync(path) && !options.overwrite) {
    throw new UsageError(`--write-run ${path}: the file is there already; give --overwrite to replace it`)
  }
  const about = await descriptions()
  const own = options as unknown as Record<string, unknown>
  const folder = dirname(resolve(path))
  const values = new Map(
    keys
      .filter(key => given.has(key) && key.attribute !== 'overwrite')
      .map(key => [key, key.isPath ? seenFrom(folder, key, own[key.attribute] as string) : own[key.attribute]]),
  )
  const { title } = namedMethods().get(options.method) ?? { title: options.method }
  const lines = [
    ...header('A training: peft train with this file. What is a comment shows the default, or what could be said.'),
    ...section('run', keys, values, about),
    '',
    `# ${title}`,
    ...methodLines(options, { complete: false }),
    '',
    ...section('data', keys, values, about),
    '',
    ...section('training', keys, values, about),
  ]
  await writeFileAtomic(path, `${lines.join('\n')}\n`)
}

/** What keys mean: the help of their flags, or for options without a flag the documentation, which the schema holds. */
async function descriptions(): Promise<Descriptions> {
  const schema = JSON.parse(await readFile(new URL('../../../assets/run.schema.json', import.meta.url), 'utf8'))
  return ({ description, name }) => sentence(description ?? schema.$defs.training.properties[name]?.description ?? name)
}
