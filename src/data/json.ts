/** @file JSON and JSON Lines into rows, with errors that name the line. */
import type { Row } from './dataset.ts'
import { type LocatedRow, nonBlankLines } from './lines.ts'
import { list } from './messages.ts'

/** One JSON object a line; blank lines are no rows. */
export function readJsonLines(path: string, text: string): LocatedRow[] {
  return nonBlankLines(text).map(({ line, content }) => {
    let value: unknown
    try {
      value = JSON.parse(content)
    } catch (cause) {
      throw new Error(
        `Could not read ${path}: line ${line} is not JSON (${(cause as Error).message}). Each line must hold one JSON ` +
          `object; a file that is one JSON value over several lines is read with format 'json'.`,
        { cause },
      )
    }
    return { row: asRow(value, `${path}: line ${line}`), line }
  })
}

/** An array of objects, or an object whose `data` (or only array) is one. */
export function readJson(path: string, text: string): LocatedRow[] {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    const line = errorLine(text, (cause as Error).message)
    throw new Error(
      `Could not read ${path}:${line ? ` line ${line}:` : ''} the file is not JSON (${(cause as Error).message}). ` +
        `A file with one object a line is read with format 'jsonl'.`,
      { cause },
    )
  }
  return findArray(path, value).map((element, index) => ({ row: asRow(element, `${path}: element ${index}`) }))
}

function findArray(path: string, value: unknown): unknown[] {
  if (Array.isArray(value)) return value
  const expected = `expected an array of objects, or an object with one array (or with "data")`
  if (typeof value !== 'object' || value === null) {
    throw new Error(`Could not read ${path}: it holds ${kindOf(value)}; ${expected}.`)
  }
  const entries = Object.entries(value)
  const data = (value as Row).data
  if (Array.isArray(data)) return data
  const arrays = entries.filter(([, member]) => Array.isArray(member))
  if (arrays.length === 1) return arrays[0][1]
  throw new Error(
    `Could not read ${path}: its object has ${arrays.length} arrays (keys: ${list(entries.map(([key]) => key))}); ${expected}.`,
  )
}

function asRow(value: unknown, where: string): Row {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Row
  throw new Error(
    `Could not read ${where} is ${kindOf(value)}; expected an object such as {"text": "...", "label": 1}.`,
  )
}

function kindOf(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'an array'
  return `a ${typeof value}`
}

/** The line a JSON.parse message speaks of. V8 gives a position in some messages and a snippet of the text in others. */
function errorLine(text: string, message: string): number | undefined {
  const lineOf = (offset: number) => text.slice(0, offset).split('\n').length
  const position = /at position (\d+)/.exec(message)
  if (position) return lineOf(Number(position[1]))
  if (message.startsWith('Unexpected end')) return lineOf(text.length)
  const snippet = /, (?:\.\.\.)?"([\s\S]*?)"(?:\.\.\.)? is not valid JSON$/.exec(message)?.[1]
  const offset = snippet ? text.indexOf(snippet) : -1
  return offset >= 0 && text.indexOf(snippet!, offset + 1) < 0
    ? lineOf(offset + Math.floor(snippet!.length / 2))
    : undefined
}
