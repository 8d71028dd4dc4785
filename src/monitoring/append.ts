/** @file Adding to a record on disk. */
import { appendFile } from 'node:fs/promises'
import { diskAdvice } from '../training/disk-advice.ts'

/**
 * Adds to the end of a file, which is opened anew each time.
 *
 * @throws when it cannot be written, saying which file it is and what to do
 */
export async function appendRecord(path: string, data: string | Uint8Array): Promise<void> {
  try {
    await appendFile(path, data)
  } catch (cause) {
    throw new Error(`Could not write to ${path}: ${(cause as Error).message}. ${diskAdvice(cause)}`.trim(), { cause })
  }
}
