/** @file Reading a run file: every key known, every value checked, every path found. */

import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname, isAbsolute, join, relative, resolve, sep } from 'node:path'
import { didYouMean } from '../../util/nearest.ts'
import { camelCase } from '../../util/spelling.ts'
import { fits } from '../../util/value-schema.ts'
import { methodConfig, methodOptionNames } from '../assignments.ts'
import { RunFileError, UsageError } from '../exit.ts'
import { checkMethod, methodNames } from '../tuning.ts'
import { type Entry, parseRunFile, type RunDocument } from './document.ts'
import { keyPath, type RunKey, type Section } from './keys.ts'

/** The method of a run file. */
export interface FileMethod {
  name: string
  /** Its options in PEFT's names. */
  options: Record<string, unknown>
}

/** What a run file says. */
export interface RunFile {
  path: string
  values: Map<RunKey, unknown>
  method: FileMethod | undefined
  /** What the run was made with, as a saved file says. */
  versions: Record<string, string>
}

/** The parts of a file beside the options of the run itself. */
const SECTIONS = ['data', 'method', 'training', 'versions']
const MAPPING = 'options as "key: value", indented under it'

/**
 * Reads a run file. Relative paths in it are relative to its folder; they are returned as the current folder sees them.
 *
 * @throws {RunFileError} for an unknown key (naming the nearest), a value that does not fit, a key that is given twice
 */
export async function readRunFile(path: string, keys: readonly RunKey[]): Promise<RunFile> {
  const document = parseRunFile(await textOf(path), path)
  const file: RunFile = { path, values: new Map(), method: undefined, versions: {} }
  const seen = new Map<string, string>()
  for (const entry of document.entries) {
    const name = onlyOnce(entry, seen)
    if (name === 'method') file.method = readMethod(entry, document)
    else if (name === 'versions') file.versions = readVersions(entry, document)
    else if (name === 'data' && typeof entry.value === 'string') {
      setValue(file, keys.find(key => key.section === 'data' && key.name === 'train')!, entry)
    } else if (name === 'data' || name === 'training') readSection(file, name, entry, document, keys)
    else setValue(file, keyOf('run', entry, keys), entry)
  }
  return file
}

async function textOf(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    const reason = code === 'ENOENT' ? 'there is no such file' : code === 'EISDIR' ? 'it is a folder' : message
    throw new UsageError(`The run file ${path} cannot be read: ${reason}. peft train --write-run FILE writes one.`, {
      cause,
    })
  }
}

/** The name of an entry in our spelling. Throws where another spelling of it stands in the file already. */
function onlyOnce({ key, keyAt }: Entry, seen: Map<string, string>): string {
  const name = camelCase(key)
  const before = seen.get(name)
  if (before !== undefined) throw new RunFileError(`${keyAt}: ${key} was given before, as ${before}; give one`)
  seen.set(name, key)
  return name
}

function readSection(
  file: RunFile,
  section: Section,
  entry: Entry,
  document: RunDocument,
  keys: readonly RunKey[],
): void {
  const seen = new Map<string, string>()
  for (const part of mapping(entry, document)) {
    onlyOnce(part, seen)
    setValue(file, keyOf(section, part, keys), part)
  }
}

/** The entries under a key; none where every line under it is a comment. */
function mapping(entry: Entry, document: RunDocument): Entry[] {
  const entries = document.within(entry)
  if (entries) return entries
  if (entry.value === null || entry.value === undefined) return []
  throw new RunFileError(`${entry.valueAt}: ${entry.key} is ${show(entry.value)}, expected ${MAPPING}`)
}

function keyOf(section: Section, { key, keyAt }: Entry, keys: readonly RunKey[]): RunKey {
  const found = findKey(section, key, keys)
  if (found) return found
  throw new RunFileError(`${keyAt}: ${unknownKey(section, key, keys)}`)
}

/** The key with a name, in either spelling. */
export function findKey(section: Section, name: string, keys: readonly RunKey[]): RunKey | undefined {
  return keys.find(key => key.section === section && key.name === camelCase(name))
}

/** What is said of a key that a section does not have: where it belongs, or what it is like. */
export function unknownKey(section: Section, name: string, keys: readonly RunKey[]): string {
  const where = section === 'run' ? 'a run file has' : `${section} has`
  const known = keys.filter(key => key.section === section).map(key => key.name)
  const meant = keys.find(key => [key.name, key.attribute].includes(camelCase(name)))
  if (meant) return `${where} no option "${name}"; it is ${keyPath(meant)}`
  const all = section === 'run' ? [...SECTIONS, ...known] : known
  return `${where} no option "${name}".${didYouMean(name, all)} It has ${all.join(', ')}.`
}

function setValue(file: RunFile, key: RunKey, { value, valueAt }: Entry): void {
  const wrong = mistakeIn(key, value)
  if (wrong) throw new RunFileError(`${valueAt}: ${wrong}`)
  file.values.set(key, key.isPath ? asSeenFromHere(value as string, file.path, keyPath(key), valueAt) : value)
}

/** What is wrong with a value; undefined where it fits. */
export function mistakeIn(key: RunKey, value: unknown): string | undefined {
  if (fits(value, key.schema)) return undefined
  const { expected, schema } = key
  if (value === null || value === undefined) {
    return `${keyPath(key)} has no value, expected ${expected}; leave the line out for the default`
  }
  const near = typeof value === 'string' && schema.enum ? didYouMean(value, schema.enum.map(String)) : ''
  return `${keyPath(key)} is ${show(value)}, expected ${expected}.${near}`
}

const show = (value: unknown) => (typeof value === 'number' ? String(value) : JSON.stringify(value))

/** A path of a file as the current folder sees it. A model that is not beside the file is a hub id. */
function asSeenFromHere(path: string, file: string, what: string, at: string): string {
  if (isAbsolute(path)) return path
  const found = join(dirname(resolve(file)), path)
  const here = relative(process.cwd(), found) || '.'
  const seen = here.startsWith('..') || isAbsolute(here) ? here : `.${sep}${here}`
  const isHubId = what === 'model' && /^[\w.-]+(\/[\w.-]+)?$/.test(path) && !/^\.{1,2}(\/|$)/.test(path)
  if (!isHubId || existsSync(found)) return seen
  if (!existsSync(path)) return path
  throw new RunFileError(
    `${at}: ${what} is ${path}, which the folder of the file does not hold, but the current one does. Paths in a run ` +
      `file are relative to it: write ${relative(dirname(resolve(file)), resolve(path))}`,
  )
}

function readMethod(entry: Entry, document: RunDocument): FileMethod {
  const isName = typeof entry.value === 'string'
  const parts = isName ? [] : mapping(entry, document)
  const named = isName ? entry : parts.find(({ key }) => key === 'name')
  const name = named?.value ?? 'lora'
  if (typeof name !== 'string' || !methodNames().includes(name)) {
    const known = methodNames()
    const near = typeof name === 'string' ? didYouMean(name, known) : ''
    throw new RunFileError(
      `${named!.valueAt}: the method ${show(name)} is not known.${near} Known: ${known.join(', ')}.`,
    )
  }
  const known = methodOptionNames(name)
  const options: Record<string, unknown> = {}
  const places = new Map<string, string>()
  const seen = new Map<string, string>()
  for (const part of parts.filter(other => other !== named)) {
    const camel = onlyOnce(part, seen)
    const option = known.find(candidate => camelCase(candidate) === camel)
    if (option === undefined) {
      const names = part.key.includes('_') ? known : known.map(camelCase)
      const has = known.length ? ` It has ${names.join(', ')}.` : ''
      throw new RunFileError(
        `${part.keyAt}: the method ${name} has no option "${part.key}".${didYouMean(part.key, names)}${has}`,
      )
    }
    options[option] = part.value
    places.set(option, part.valueAt)
  }
  checkOptions({ name, options }, places, entry)
  return { name, options }
}

/** Lets the method check its options; the place is that of the option which the message is about. */
function checkOptions(method: FileMethod, places: ReadonlyMap<string, string>, { valueAt }: Entry): void {
  const pairs = pairsOf(method.options)
  try {
    if (pairs.length) methodConfig(method.name, null, pairs)
    else checkMethod(method.name, pairs)
  } catch (cause) {
    const message = (cause as Error).message.replace(/^--set:? /, '')
    const about = [...places.keys()]
      .sort((a, b) => b.length - a.length)
      .find(option => new RegExp(`\\b(${option}|${camelCase(option)})\\b`).test(message))
    throw new RunFileError(`${(about && places.get(about)) ?? valueAt}: method ${method.name}: ${message}`, { cause })
  }
}

/** Options of a method as `--set` takes them. */
export function pairsOf(options: Readonly<Record<string, unknown>>): string[] {
  return Object.entries(options).map(([name, value]) => `${name}=${JSON.stringify(value)}`)
}

function readVersions(entry: Entry, document: RunDocument): Record<string, string> {
  const entries = mapping(entry, document)
  for (const { key, value, valueAt } of entries) {
    if (typeof value === 'string') continue
    throw new RunFileError(`${valueAt}: versions.${key} is ${show(value)}, expected a text such as "1.2.3"`)
  }
  return Object.fromEntries(entries.map(({ key, value }) => [key, value as string]))
}
