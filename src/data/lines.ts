/** @file Rows that know the line of the file they came from. */
import type { Row } from './dataset.ts'

/** A row and the line of the file it was read from (counted from 1), where the format has lines. */
export interface LocatedRow {
  row: Row
  line?: number
}

/** The lines that hold more than white space, with their numbers. */
export function nonBlankLines(text: string): { line: number; content: string }[] {
  return text
    .split(/\r?\n/)
    .map((content, index) => ({ line: index + 1, content }))
    .filter(({ content }) => content.trim() !== '')
}
