/** @file A run file and the flags beside it become the options of `peft train`; flags win. */
import { resolve } from 'node:path'
import type { Command } from 'commander'
import { parseValue, splitPair } from '../assignments.ts'
import type { TrainOptions } from '../commands/train.ts'
import { RunFileError, UsageError } from '../exit.ts'
import { flagOf } from '../training-options.ts'
import { type RunKey, runKeys, type Section } from './keys.ts'
import { findKey, mistakeIn, pairsOf, type RunFile, readRunFile, unknownKey } from './read.ts'
import { RUN_FILE, versions } from './saved.ts'

/** The options of a training, and what they came from. */
export interface Run {
  options: TrainOptions
  keys: readonly RunKey[]
  /** The keys that were given, in the file or by flags. */
  given: ReadonlySet<RunKey>
  /** What the user should know. */
  notes: string[]
}

/**
 * The options of a call of `peft train`.
 *
 * @param path the run file, where one was given
 * @throws {RunFileError} for mistakes in the file, and for a value that is given twice on the command line
 */
export async function readRun(command: Command, path: string | undefined): Promise<Run> {
  const keys = runKeys(command)
  const notes: string[] = []
  const assigned = takeAssignments(command, keys)
  if (path !== undefined) {
    const file = await readRunFile(path, keys)
    for (const [key, value] of file.values) {
      if (!isGiven(command, key)) command.setOptionValueWithSource(key.attribute, value, 'config')
    }
    notes.push(...applyMethod(command, file), ...otherVersions(file))
  }
  const options = command.opts<TrainOptions>()
  if (path !== undefined && options.output !== undefined) refuseOwnFile(path, options)
  const given = new Set(keys.filter(key => assigned.has(key) || isGiven(command, key, 'config')))
  return { options, keys, given, notes }
}

function isGiven(command: Command, { attribute }: RunKey, ...sources: string[]): boolean {
  return ['cli', ...sources].includes(command.getOptionValueSource(attribute) ?? '')
}

/** `--set training.learningRate=1e-4`: sets what the file would. What is left are options of the method. */
function takeAssignments(command: Command, keys: readonly RunKey[]): Set<RunKey> {
  const { set } = command.opts<TrainOptions>()
  const assigned = new Set<RunKey>()
  const left: string[] = []
  for (const pair of set) {
    const [, section, name] = /^(data|training|method)\.([^=]*)/.exec(pair) ?? []
    if (section === undefined) left.push(pair)
    else if (section === 'method') left.push(pair.slice('method.'.length))
    else assigned.add(assign(command, keys, section as Section, name, pair))
  }
  command.setOptionValueWithSource('set', left, command.getOptionValueSource('set'))
  return assigned
}

function assign(command: Command, keys: readonly RunKey[], section: Section, name: string, pair: string): RunKey {
  const key = findKey(section, name.trim(), keys)
  if (!key) throw new RunFileError(`--set ${pair}: ${unknownKey(section, name.trim(), keys)}`)
  if (isGiven(command, key)) {
    throw new RunFileError(
      `--set ${pair}: ${key.flag ? `${key.flag.long} or another --set` : 'another --set'} says it too; give one`,
    )
  }
  const [, text] = splitPair(pair)
  const isText = mistakeIn(key, text) === undefined
  const parsed = parseValue(key.name, text)
  const value = isText ? text : key.schema.type === 'array' && !Array.isArray(parsed) ? [parsed] : parsed
  const wrong = mistakeIn(key, value)
  if (wrong) throw new RunFileError(`--set ${wrong}`)
  command.setOptionValueWithSource(key.attribute, value, 'cli')
  return key
}

/** The method of the file, with options of flags over its own. Options of another method than the flag's do not count. */
function applyMethod(command: Command, { method, path }: RunFile): string[] {
  if (!method) return []
  const { method: flag, set } = command.opts<TrainOptions>()
  if (command.getOptionValueSource('method') === 'cli' && flag !== method.name) {
    const names = Object.keys(method.options)
    return names.length
      ? [`${path}: ${names.join(', ')} belong to ${method.name}; with --method ${flag} they are left out`]
      : []
  }
  command.setOptionValueWithSource('method', method.name, 'config')
  const over = set.map(pair => splitPair(pair)[0])
  const own = Object.entries(method.options).filter(([name]) => !over.includes(name))
  command.setOptionValueWithSource('set', [...pairsOf(Object.fromEntries(own)), ...set], 'config')
  return []
}

function otherVersions({ path, versions: made }: RunFile): string[] {
  const now = versions()
  const others = Object.entries(made).filter(([name, version]) => now[name] !== version)
  if (others.length === 0) return []
  const told = others.map(([name, version]) => `${name} ${version} (here ${now[name] ?? 'none'})`)
  return [`${path} was made with ${told.join(', ')}: the result may differ in the last bits`]
}

/** The resolved run is saved with what was trained: it must not replace what somebody wrote. */
function refuseOwnFile(path: string, { output, overwrite }: TrainOptions): void {
  if (overwrite || resolve(path) !== resolve(output, RUN_FILE)) return
  throw new UsageError(
    `${path} lies in the folder that it would be trained to, where the resolved ${RUN_FILE} would replace it; name ` +
      `another folder with --${flagOf('outputDir')}, or give --overwrite`,
  )
}
