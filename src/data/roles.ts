/** @file Which columns play which part, for tasks whose rows have one form. */
import { didYouMean } from '../util/nearest.ts'
import type { Dataset } from './dataset.ts'
import { list } from './messages.ts'

/** A part that a column plays. */
export interface Role {
  /** The names that columns for it usually have. */
  names: readonly string[]
  /** Whether rows can do without it. */
  optional?: boolean
}

/**
 * The column of each role: the given one, else the single one whose name tells (upper and lower case count as equal).
 *
 * @param given names of roles to columns
 * @returns names of roles to columns; optional ones that are not there are left out
 * @throws for a role or column that does not exist, and where names tell nothing or more than one thing
 */
export function resolveRoles(
  dataset: Dataset,
  roles: Readonly<Record<string, Role>>,
  given: Readonly<Record<string, string>> = {},
): Record<string, string> {
  for (const [role, column] of Object.entries(given)) {
    if (!(role in roles)) {
      throw new Error(
        `columns names "${role}"; the rows have ${list(Object.keys(roles))}.${didYouMean(role, Object.keys(roles))}`,
      )
    }
    if (!dataset.columns.includes(column)) {
      throw new Error(
        `The data set has no column "${column}".${didYouMean(column, dataset.columns)} Its columns are ${list(dataset.columns)}.`,
      )
    }
  }
  const found: Record<string, string> = {}
  for (const [role, { names, optional }] of Object.entries(roles)) {
    const column = given[role] ?? theOne(dataset, role, names, optional ?? false)
    if (column !== undefined) found[role] = column
  }
  return found
}

function theOne(dataset: Dataset, role: string, names: readonly string[], optional: boolean): string | undefined {
  const found = dataset.columns.filter(column => names.includes(column.toLowerCase()))
  if (found.length === 1) return found[0]
  if (found.length === 0 && optional) return undefined
  const problem =
    found.length === 0
      ? `none of its columns is called ${names.join(', ')}`
      : `${list(found)} could all be it, and choosing would be a guess`
  throw new Error(
    `Could not tell which column holds the ${role}: ${problem}. The columns are ${list(dataset.columns)}. ` +
      `Name it with columns: { ${role}: '...' }.`,
  )
}
