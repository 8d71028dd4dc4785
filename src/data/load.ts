/** @file `loadDataset`: reads jsonl, json, csv, tsv and txt files into a {@link Dataset}. Node only. */
import { didYouMean, nearest } from '../util/nearest.ts'
import { Dataset, type Row } from './dataset.ts'
import { readDelimited } from './delimited.ts'
import { readJson, readJsonLines } from './json.ts'
import { type LocatedRow, nonBlankLines } from './lines.ts'
import { list } from './messages.ts'

/** The file formats {@link loadDataset} reads. */
export type DatasetFormat = 'jsonl' | 'json' | 'csv' | 'tsv' | 'txt'

const extensions: Record<string, DatasetFormat> = {
  '.jsonl': 'jsonl',
  '.ndjson': 'jsonl',
  '.json': 'json',
  '.csv': 'csv',
  '.tsv': 'tsv',
  '.txt': 'txt',
}

/** Options of {@link loadDataset}. */
export interface LoadDatasetOptions {
  /** The file's format; by default its extension tells (.jsonl, .ndjson, .json, .csv, .tsv, .txt). */
  format?: DatasetFormat
  /** Our column names to the file's. When given, rows have exactly these columns. */
  columns?: Record<string, string>
  /** csv and tsv: whether the first line names the columns. Default true; when false they are named '0', '1', ... */
  hasHeader?: boolean
  /** csv and tsv: the field separator. Default ',' for csv and a tab for tsv. */
  delimiter?: string
  /** csv and tsv: the quoting character, or false for none. Default '"' for csv and false for tsv. */
  quote?: string | false
  /** Keep only the first `limit` rows. */
  limit?: number
}

/**
 * Reads one file into memory.
 *
 * - `.jsonl` / `.ndjson`: one JSON object a line.
 * - `.json`: an array of objects, or an object that holds one (under `data`, or as its only array).
 * - `.csv`, `.tsv`: fields are strings, untrimmed. A tsv is read without quoting, as the field's data sets are written.
 * - `.txt`: one row `{ text }` a line.
 *
 * UTF-8, with or without byte order mark; lines may end in LF or CRLF; blank lines are no rows. Anything else that is
 * not as it should be is an error that names the file and the line.
 */
export async function loadDataset(path: string, options: LoadDatasetOptions = {}): Promise<Dataset> {
  const { columns, limit } = options
  if (limit !== undefined && (!Number.isInteger(limit) || limit < 1)) {
    throw new Error(`Could not read ${path}: limit is ${limit}; expected a whole number from 1 on.`)
  }
  const format = options.format ?? formatOf(path)
  const text = await readText(path)
  const located = await parseText(path, text, format, options)
  if (located.length === 0) throw new Error(`Could not read ${path}: it holds no rows.`)
  const rows = located.map(({ row }) => row)
  const renamed = columns ? renameColumns(path, rows, columns) : rows
  return new Dataset(limit === undefined ? renamed : renamed.slice(0, limit))
}

function formatOf(path: string): DatasetFormat {
  const extension = /\.[^./\\]*$/.exec(path)?.[0].toLowerCase() ?? ''
  const format = extensions[extension]
  if (format) return format
  const known = Object.keys(extensions)
  throw new Error(
    `Could not read ${path}: ${extension ? `the extension "${extension}" is not known` : 'it has no extension'}.` +
      `${extension.length > 2 ? didYouMean(extension, known) : ''} ` +
      `Known are ${known.join(', ')}; give the option format for a file named otherwise, ` +
      `and convert other formats (parquet, arrow, xlsx, archives) to jsonl first.`,
  )
}

async function readText(path: string): Promise<string> {
  const { readFile, readdir } = await import('node:fs/promises')
  const { basename, dirname } = await import('node:path')
  const { isUtf8 } = await import('node:buffer')
  let bytes: Buffer
  try {
    bytes = await readFile(path)
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code
    if (code === 'ENOENT') {
      const siblings = await readdir(dirname(path)).catch(() => [])
      const near = nearest(basename(path), siblings)
      const hint = near.length ? ` Near it in that folder: ${list(near)}.` : ''
      throw new Error(`Could not read ${path}: there is no such file.${hint}`, { cause })
    }
    if (code === 'EISDIR') throw new Error(`Could not read ${path}: it is a folder; expected one data file.`, { cause })
    throw new Error(`Could not read ${path}: ${(cause as Error).message}.`, { cause })
  }
  if (bytes.length === 0) throw new Error(`Could not read ${path}: the file is empty.`)
  const utf16 = (bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff)
  if (utf16) throw new Error(`Could not read ${path}: it is UTF-16. Save it as UTF-8.`)
  const nul = bytes.indexOf(0)
  if (nul >= 0) {
    throw new Error(
      `Could not read ${path}: line ${lineAt(bytes, nul)} has a NUL byte (byte ${nul}), so this is a binary file. ` +
        `Expected UTF-8 text.`,
    )
  }
  if (!isUtf8(bytes)) {
    throw new Error(`Could not read ${path}: line ${firstBadLine(bytes, isUtf8)} is not UTF-8. Save the file as UTF-8.`)
  }
  return new TextDecoder('utf-8').decode(bytes)
}

function lineAt(bytes: Uint8Array, offset: number): number {
  let line = 1
  for (let i = 0; i < offset; i++) if (bytes[i] === 10) line++
  return line
}

/** The first line that is not UTF-8; sound because no UTF-8 sequence holds a line feed. */
function firstBadLine(bytes: Buffer, isUtf8: (input: Uint8Array) => boolean): number {
  let start = 0
  for (let line = 1; ; line++) {
    const end = bytes.indexOf(10, start)
    if (end < 0 || !isUtf8(bytes.subarray(start, end))) return line
    start = end + 1
  }
}

async function parseText(
  path: string,
  text: string,
  format: DatasetFormat,
  options: LoadDatasetOptions,
): Promise<LocatedRow[]> {
  switch (format) {
    case 'jsonl':
      return readJsonLines(path, text)
    case 'json':
      return readJson(path, text)
    case 'csv':
      return readDelimited(path, text, { delimiter: ',', quote: '"', ...given(options) })
    case 'tsv':
      return readDelimited(path, text, { delimiter: '\t', quote: false, ...given(options) })
    case 'txt':
      return nonBlankLines(text).map(({ line, content }) => ({ row: { text: content }, line }))
    default:
      throw new Error(
        `Could not read ${path}: the format "${format}" is not known.${didYouMean(format, Object.values(extensions))}`,
      )
  }
}

function given({ delimiter, quote, hasHeader }: LoadDatasetOptions) {
  return {
    ...(delimiter === undefined ? {} : { delimiter }),
    ...(quote === undefined ? {} : { quote }),
    hasHeader: hasHeader ?? true,
  }
}

function renameColumns(path: string, rows: Row[], columns: Record<string, string>): Row[] {
  const known = new Dataset(rows).columns
  for (const [ours, theirs] of Object.entries(columns)) {
    if (known.includes(theirs)) continue
    throw new Error(
      `Could not read ${path}: column "${theirs}" (wanted as "${ours}") is not in the file.` +
        `${didYouMean(theirs, known)} Its columns are ${list(known)}.`,
    )
  }
  const pairs = Object.entries(columns)
  return rows.map(row =>
    Object.fromEntries(pairs.filter(([, theirs]) => theirs in row).map(([ours, theirs]) => [ours, row[theirs]])),
  )
}
