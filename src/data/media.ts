/** @file What images and recordings have in common on their way to features. */
import type { TooLong } from './features.ts'
import { count } from './messages.ts'

/** A row whose file cannot be used. */
export interface BadRow {
  /** The row in the data set. */
  row: number
  /** The file, or `row 3`. */
  name: string
  reason: string
}

/** Options that images and recordings share. */
export interface MediaOptions {
  /** Whether rows need a label or a text (true); without they can only be predicted. */
  hasTargets?: boolean
  /** Leave out files that cannot be read, in place of refusing all; `bad` lists them. Default false. */
  skipBad?: boolean
  /** Bytes that are kept in memory; the rest goes to a temporary file. Default 256 MiB. */
  memoryLimit?: number
  /** Called after each file. */
  onProgress?: (done: number, total: number) => void
  /** Stops between two files, with the signal's reason. */
  signal?: AbortSignal
}

/** Features of files, and what was done to get them. */
export interface PreparedMedia<F> {
  features: F[]
  /** `rows[i]` is the row of the data set that feature i came from. */
  rows: number[]
  /** Every file that could not be read and was left out. */
  bad: BadRow[]
  /** Every recording that was too long, also those that were cut or left out. */
  tooLong: TooLong[]
}

/** How many files are read at the same time. */
const PARALLEL = 4

/** The results of an action on each row, in order; a few rows are worked on at the same time. */
export async function inParallel<R, T>(
  rows: readonly R[],
  { onProgress, signal }: Pick<MediaOptions, 'onProgress' | 'signal'>,
  action: (row: R, index: number) => Promise<T>,
): Promise<T[]> {
  const results = new Array<T>(rows.length)
  let [next, done] = [0, 0]
  const work = async () => {
    while (next < rows.length) {
      signal?.throwIfAborted()
      const index = next++
      results[index] = await action(rows[index], index)
      onProgress?.(++done, rows.length)
    }
  }
  await Promise.all(Array.from({ length: Math.min(PARALLEL, rows.length) }, work))
  return results
}

/** Throws for files that cannot be used, naming them, unless they may be left out and some are left. */
export function refuseBad(bad: BadRow[], total: number, noun: string, skipBad: boolean): void {
  if (bad.length === 0 || (skipBad && bad.length < total)) {
    bad.sort((a, b) => a.row - b.row)
    return
  }
  const shown = bad
    .sort((a, b) => a.row - b.row)
    .slice(0, 5)
    .map(({ row, reason }) => `row ${row}: ${reason}`)
  const more = bad.length > shown.length ? ` (and ${bad.length - shown.length} more)` : ''
  const out = skipBad ? '' : ' Mend these rows, or leave them out with skipBad: true.'
  throw new Error(`${bad.length} of ${count(total, noun)} cannot be used: ${shown.join(' ')}${more}${out}`)
}
