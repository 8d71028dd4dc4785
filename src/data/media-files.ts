/** @file Data sets of files: a folder a class, a table beside the files, or files alone. Node only. */
import type { Dirent } from 'node:fs'
import { Dataset, type Row } from './dataset.ts'
import { IMAGE_EXTENSIONS } from './decode-image.ts'
import { loadDataset } from './load.ts'
import { count, list } from './messages.ts'
import { type Role, resolveRoles } from './roles.ts'

/** Which part of a folder with parts is read. */
export type MediaPart = 'train' | 'evaluation'

/** Options of {@link loadImageDataset} and {@link loadSpeechDataset}. */
export interface MediaDatasetOptions {
  /** The roles (`image` and `label`, `audio` and `text`) to the columns of a table; by default their names tell. */
  columns?: Record<string, string>
  /** Columns that are taken where a table has them and `columns` says nothing, such as those of an earlier training. */
  usualColumns?: Record<string, string>
  /** Tables in csv and tsv: whether the first line names the columns. Default true. */
  hasHeader?: boolean
  /** Keep only so many files: the first rows of a table, of folders the same number of each class. */
  limit?: number
  /** Of a folder that holds `train` and `validation`: which is read. Default 'train'. */
  part?: MediaPart
  /** Whether each file needs a label or a text (true). Without them all files below a folder are taken. */
  hasTargets?: boolean
}

/** Files and what is known of each. */
export interface MediaDataset {
  /** The table or folder that was read. */
  path: string
  /** Rows of `{ image, label }` or `{ audio, text }`; the files are whole paths. */
  rows: Dataset
  /** The roles to the columns of the table; empty for folders. */
  columns: Record<string, string>
  /** Remarks a user should read, such as files that are none of the kind. */
  notes: string[]
}

/** What files are read, and how tables name them. */
interface MediaKind {
  /** What a file is called. */
  noun: string
  fileRole: string
  targetRole: string
  roles: Readonly<Record<string, Role>>
  extensions: readonly string[]
  /** The way out for a folder that says nothing of its files. */
  wayOut: string
}

const FILE_NAMES = ['file_name', 'file', 'path', 'filename', 'filepath', 'file_path']

const IMAGES: MediaKind = {
  noun: 'image',
  fileRole: 'image',
  targetRole: 'label',
  roles: {
    image: { names: ['image', ...FILE_NAMES, 'image_path'] },
    label: { names: ['label', 'labels', 'class', 'target', 'category'] },
  },
  extensions: IMAGE_EXTENSIONS,
  wayOut:
    'put the images of each class into a folder of its name, or write metadata.csv with the columns file_name, label',
}

const SPEECH: MediaKind = {
  noun: 'recording',
  fileRole: 'audio',
  targetRole: 'text',
  roles: {
    audio: { names: ['audio', ...FILE_NAMES, 'audio_path', 'wav'] },
    text: { names: ['text', 'transcription', 'sentence', 'transcript', 'target'] },
  },
  extensions: ['.wav', '.wave'],
  wayOut: 'write metadata.csv with the columns file_name, text',
}

/** Recordings that are met and cannot be read. */
const OTHER_SOUND = /\.(mp3|flac|ogg|opus|m4a|aac|wma|aiff?|webm|mp4)$/i

const TABLES = ['metadata.csv', 'metadata.tsv', 'metadata.jsonl', 'metadata.json']

/** The names of folders that hold a part of a data set. */
const PARTS: Readonly<Record<MediaPart, readonly string[]>> = {
  train: ['train', 'training'],
  evaluation: ['validation', 'val', 'valid', 'dev', 'eval', 'evaluation', 'test', 'testing'],
}

/**
 * Finds images and their classes: a folder with one folder a class, or with metadata.csv (tsv, jsonl) as Hugging Face's
 * `imagefolder` has it; a table with a column of paths and one of labels; one image. A folder may hold `train` and
 * `validation`, each of which is such a folder.
 *
 * @throws when there are none, or nothing says their classes
 * @example
 * const { rows } = await loadImageDataset('./images')
 * const train = await prepareImages(rows, await ImageProcessor.fromPretrained('./vit'))
 */
export function loadImageDataset(path: string, options: MediaDatasetOptions = {}): Promise<MediaDataset> {
  return load(path, IMAGES, options)
}

/**
 * Finds recordings (WAV files) and what is said in them: a folder with metadata.csv (tsv, jsonl), a table with a column of
 * paths and one of texts, or where texts are not needed a folder or a file alone.
 *
 * @throws when there are none, or nothing says what is said
 */
export function loadSpeechDataset(path: string, options: MediaDatasetOptions = {}): Promise<MediaDataset> {
  return load(path, SPEECH, options)
}

/** Whether a folder holds an evaluation part beside its training part. */
export async function hasEvaluationPart(path: string): Promise<boolean> {
  const entries = await readFolder(path)
  return entries !== undefined && partOf(entries, 'evaluation') !== undefined && partOf(entries, 'train') !== undefined
}

async function load(path: string, kind: MediaKind, options: MediaDatasetOptions): Promise<MediaDataset> {
  const { extname, join, resolve } = await import('node:path')
  const entries = await readFolder(path)
  const { limit, hasTargets = true, part = 'train' } = options
  if (!entries) {
    const isFile = kind.extensions.includes(extname(path).toLowerCase())
    if (!isFile) return fromTable(path, kind, options)
    if (!hasTargets) return { path, rows: new Dataset([{ [kind.fileRole]: resolve(path) }]), columns: {}, notes: [] }
    throw new Error(
      `Could not take ${path} alone: a ${kind.targetRole} is needed for each ${kind.noun}. Give a folder or a table.`,
    )
  }
  const table = TABLES.find(name => entries.some(entry => entry.name === name))
  if (table) return fromTable(join(path, table), kind, options)
  if (partsIn(entries) && hasTargets) {
    const name = partOf(entries, part) ?? entries.find(entry => entry.isDirectory())!.name
    const read = await load(join(path, name), kind, options)
    return { ...read, notes: [`read the part "${name}" of ${path}`, ...read.notes] }
  }
  const { classes, loose, others } = await filesBelow(path, entries, kind)
  const notes = others.length
    ? [
        `left ${count(others.length, 'file')} that ${others.length === 1 ? 'is' : 'are'} no ${kind.noun}: ${some(others)}`,
      ]
    : []
  const files = [...loose, ...[...classes.values()].flat()]
  if (files.length === 0) throw nothingFound(path, kind, others)
  if (!hasTargets) {
    const rows = files.slice(0, limit).map(file => ({ [kind.fileRole]: file }))
    return { path, rows: new Dataset(rows), columns: {}, notes }
  }
  if (kind !== IMAGES || classes.size === 0 || loose.length > 0) {
    const which =
      loose.length > 0 && classes.size > 0 ? `, such as ${some(loose)}, lie beside the folders of classes` : ''
    throw new Error(
      `Nothing says the ${kind.targetRole} of ${loose.length || files.length} ${kind.noun}s in ${path}${which}: ${kind.wayOut}.`,
    )
  }
  const empty = [...classes].filter(([, found]) => found.length === 0).map(([name]) => name)
  if (empty.length) notes.push(`no ${kind.noun} in the ${empty.length === 1 ? 'folder' : 'folders'} ${list(empty)}`)
  return { path, rows: new Dataset(inTurn(classes).slice(0, limit)), columns: {}, notes }
}

/** One image of each class after the other, so that the first rows are of all classes. */
function inTurn(classes: ReadonlyMap<string, readonly string[]>): Row[] {
  const longest = Math.max(...[...classes.values()].map(files => files.length))
  const rows: Row[] = []
  for (let i = 0; i < longest; i++) {
    for (const [label, files] of classes) if (i < files.length) rows.push({ image: files[i], label })
  }
  return rows
}

async function fromTable(path: string, kind: MediaKind, options: MediaDatasetOptions): Promise<MediaDataset> {
  const { dirname, resolve } = await import('node:path')
  const { usualColumns = {}, hasHeader, limit, hasTargets = true } = options
  const table = await loadDataset(path, { hasHeader, limit })
  const { fileRole, targetRole, noun } = kind
  const usual = Object.entries(usualColumns).filter(([role]) => hasTargets || role === fileRole)
  const hasUsual = usual.length > 0 && usual.every(([, column]) => table.columns.includes(column))
  const given = options.columns ?? (hasUsual ? Object.fromEntries(usual) : undefined)
  const { [fileRole]: file, [targetRole]: target } = kind.roles
  const { [targetRole]: _, ...withoutTarget } = given ?? {}
  const columns = resolveRoles(
    table,
    hasTargets ? { [fileRole]: file, [targetRole]: target } : { [fileRole]: file },
    hasTargets || !given ? given : withoutTarget,
  )
  const rows = table.map((row, index) => {
    const value = row[columns[fileRole]]
    // Hugging Face's rows of media hold the path one level deeper.
    const name = typeof value === 'object' && value !== null ? (value as { path?: unknown }).path : value
    if (typeof name !== 'string' || name === '') {
      throw new Error(
        `Row ${index} of ${path}: column "${columns[fileRole]}" holds ${JSON.stringify(value) ?? 'nothing'}, expected the ` +
          `path of ${noun === 'image' ? 'an image' : 'a recording'}.`,
      )
    }
    if (/^https?:/.test(name)) {
      throw new Error(`Row ${index} of ${path}: ${name} is an address on the network; fetch the ${noun}s first.`)
    }
    return {
      [fileRole]: resolve(dirname(path), name),
      ...(hasTargets && { [targetRole]: row[columns[targetRole]] }),
    }
  })
  return { path, rows, columns, notes: [] }
}

interface FoundFiles {
  /** The files below each folder. */
  classes: Map<string, string[]>
  /** Those in the folder itself. */
  loose: string[]
  /** Files of another kind. */
  others: string[]
}

async function filesBelow(folder: string, entries: readonly Dirent[], kind: MediaKind): Promise<FoundFiles> {
  const { extname, join, resolve } = await import('node:path')
  const found: FoundFiles = { classes: new Map(), loose: [], others: [] }
  const walk = async (at: string, inside: readonly Dirent[], files: string[]) => {
    for (const entry of inside) {
      const path = join(at, entry.name)
      if (entry.isDirectory()) await walk(path, (await readFolder(path)) ?? [], files)
      else if (kind.extensions.includes(extname(entry.name).toLowerCase())) files.push(resolve(path))
      else found.others.push(path)
    }
  }
  for (const entry of entries) {
    if (!entry.isDirectory()) await walk(folder, [entry], found.loose)
    else {
      const files: string[] = []
      found.classes.set(entry.name, files)
      const path = join(folder, entry.name)
      await walk(path, (await readFolder(path)) ?? [], files)
    }
  }
  return found
}

/** What a folder holds, in order, without hidden files; undefined for a file. Throws where there is nothing. */
async function readFolder(path: string): Promise<Dirent[] | undefined> {
  const { readdir, stat } = await import('node:fs/promises')
  const { join } = await import('node:path')
  try {
    const entries = await readdir(path, { withFileTypes: true })
    const isHidden = ({ name }: Dirent) => name.startsWith('.') || name === 'Thumbs.db' || name === 'desktop.ini'
    const shown = entries.filter(entry => !isHidden(entry)).sort((a, b) => (a.name < b.name ? -1 : 1))
    // What a link points to is what counts.
    for (const entry of shown) {
      if (!entry.isSymbolicLink()) continue
      const isFolder = (await stat(join(path, entry.name)).catch(() => undefined))?.isDirectory() ?? false
      entry.isDirectory = () => isFolder
    }
    return shown
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    if (code === 'ENOTDIR') return undefined
    const reason = code === 'ENOENT' ? 'there is no such file or folder' : message
    throw new Error(`Could not read ${path}: ${reason}.`, { cause })
  }
}

/** Whether the folders in a folder are parts of a data set and not classes. */
function partsIn(entries: readonly Dirent[]): boolean {
  const folders = entries.filter(entry => entry.isDirectory()).map(({ name }) => name.toLowerCase())
  return folders.length > 0 && folders.every(name => [...PARTS.train, ...PARTS.evaluation].includes(name))
}

function partOf(entries: readonly Dirent[], part: MediaPart): string | undefined {
  if (!partsIn(entries)) return undefined
  const folders = entries.filter(entry => entry.isDirectory()).map(({ name }) => name)
  for (const name of PARTS[part]) {
    const found = folders.find(folder => folder.toLowerCase() === name)
    if (found !== undefined) return found
  }
  return undefined
}

function nothingFound(path: string, kind: MediaKind, others: readonly string[]): Error {
  const known = kind.extensions.join(', ')
  const sound = kind === SPEECH ? others.filter(name => OTHER_SOUND.test(name)) : []
  const rest = sound.length
    ? ` It has ${sound.length} of other kinds (${some(sound)}); convert them once, for example with: ffmpeg -i input -ac 1 -ar 16000 output.wav`
    : others.length
      ? ` It has ${count(others.length, 'file')} of other kinds: ${some(others)}.`
      : ' It is empty.'
  return new Error(`Found no ${kind.noun} in ${path} (${known}).${rest}`)
}

/** The first few names of a list. */
function some(names: readonly string[]): string {
  return `${names.slice(0, 3).join(', ')}${names.length > 3 ? ', ...' : ''}`
}
