/** @file `peft ui`. */
import { runsPage } from '../../monitoring/index.ts'
import type { Output } from '../output.ts'

/** The options of `peft ui`. */
export interface UiOptions {
  port?: number
}

/** Serves the page of recorded runs until it is interrupted. */
export async function showRuns(
  folder: string,
  { port }: UiOptions,
  output: Output,
  signal?: AbortSignal,
): Promise<void> {
  const page = await runsPage(folder, { port })
  try {
    output.event('ui', { url: page.url, folder }, `runs in ${folder}: ${output.noteStyle.bold(page.url)} (Ctrl-C ends)`)
    await new Promise<void>(resolve => {
      if (signal?.aborted) resolve()
      else signal?.addEventListener('abort', () => resolve(), { once: true })
    })
  } finally {
    await page.close()
  }
}
