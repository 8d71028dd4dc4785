/** @file The label of a row: its name, and its number among the classes. */
import { didYouMean } from '../util/nearest.ts'
import type { Row } from './dataset.ts'
import { list } from './messages.ts'

/** The number of a row's class. Throws for a label that is not among `classes`, and for none. */
export function classOf(row: Row, column: string, index: number, classes: ReadonlyMap<string, number>): number {
  const name = labelName(row, column, index)
  const label = classes.get(name)
  if (label !== undefined) return label
  throw new Error(
    `Row ${index}: the label "${name}" is not among the ${classes.size} known ones: ${list(classes.keys())}.` +
      `${didYouMean(name, classes.keys())} Labels are learnt from the training set; add rows of this class there, or ` +
      `leave this row out.`,
  )
}

/** A row's label as a name. Throws for what is none, naming row and column. */
export function labelName(row: Row, column: string, index: number): string {
  const value = row[column]
  if (typeof value === 'boolean' || typeof value === 'bigint' || (typeof value === 'string' && value !== '')) {
    return String(value)
  }
  if (typeof value === 'number') {
    if (Number.isInteger(value)) return String(value)
    throw new Error(
      `Row ${index}: the label is ${value}. Classes are whole numbers or names; regression targets are not supported.`,
    )
  }
  const got = value === undefined ? 'missing' : value === '' ? 'an empty string' : JSON.stringify(value)
  throw new Error(`Row ${index}: the label in column "${column}" is ${got}; expected a name or a whole number.`)
}
