/** @file CSV and TSV into rows, with errors that name the line. */
import type { InfoRecord } from 'csv-parse/sync'
import type { LocatedRow } from './lines.ts'
import { count, list } from './messages.ts'

/** How a delimited file is read. */
export interface DelimitedOptions {
  delimiter: string
  quote: string | false
  hasHeader: boolean
}

interface ParsedRecord {
  record: string[]
  info: InfoRecord & { lines: number }
}

/** Fields as strings, exactly as written; every record must have as many as the first. */
export async function readDelimited(path: string, text: string, options: DelimitedOptions): Promise<LocatedRow[]> {
  const { delimiter, quote, hasHeader } = options
  if (delimiter === '') throw new Error(`Could not read ${path}: the delimiter is empty.`)
  const records = await parseRecords(path, text, delimiter, quote)
  if (records.length === 0) return []
  const first = records[0].record
  if (hasHeader) checkHeader(path, first)
  const names = hasHeader ? first : first.map((_, index) => String(index))
  return records.slice(hasHeader ? 1 : 0).map(({ record, info }) => {
    if (record.length !== names.length) {
      const shown = JSON.stringify(record.join(delimiter).slice(0, 60))
      throw new Error(
        `Could not read ${path}: line ${info.lines} has ${count(record.length, 'field')}, expected ` +
          `${names.length} (${hasHeader ? list(names) : 'as in the first line'}): ${shown}. ${advice(options)}`,
      )
    }
    return { row: Object.fromEntries(names.map((name, index) => [name, record[index]])), line: info.lines }
  })
}

async function parseRecords(
  path: string,
  text: string,
  delimiter: string,
  quote: string | false,
): Promise<ParsedRecord[]> {
  // Loaded on use, since the parser needs Node's Buffer and the rest of this layer also runs in a browser.
  const { CsvError, parse } = await import('csv-parse/sync')
  try {
    return parse(text, {
      delimiter,
      quote,
      escape: quote === false ? null : quote,
      record_delimiter: ['\r\n', '\n'],
      relax_column_count: true,
      skip_empty_lines: true,
      info: true,
    }) as unknown as ParsedRecord[]
  } catch (cause) {
    if (!(cause instanceof CsvError)) throw cause
    throw new Error(
      `Could not read ${path}: ${cause.message}. If quotes in this file are plain characters, read it with quote: false.`,
      { cause },
    )
  }
}

function checkHeader(path: string, header: string[]): void {
  const twice = header.find((name, index) => header.indexOf(name) !== index)
  if (twice === undefined) return
  throw new Error(
    `Could not read ${path}: line 1 names the column "${twice}" twice. Rename one, or read with hasHeader: false if the ` +
      `file has no header.`,
  )
}

function advice({ delimiter, quote }: DelimitedOptions): string {
  return quote === false
    ? `Is ${JSON.stringify(delimiter)} the delimiter, and is the file written without quotes?`
    : `Is ${JSON.stringify(delimiter)} the delimiter, and are fields that contain it quoted with ${quote}?`
}
