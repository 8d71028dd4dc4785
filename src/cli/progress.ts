/** @file Progress bars, drawn on terminals only. */
import { type GenericFormatter, type Options, SingleBar } from 'cli-progress'
import type { Output } from './output.ts'

/** A bar on the last line of the terminal. */
export interface Progress {
  /** Moves it; `details` stand behind the numbers. */
  update(value: number, details?: string): void
  /** Removes it. */
  stop(): void
}

const WIDTH = 24
const NONE: Progress = { update() {}, stop() {} }

/** Starts a bar of `total` units; where there is no terminal (or `--json`, `--quiet`) nothing is drawn. */
export function startProgress(output: Output, { total, unit }: { total: number; unit: string }): Progress {
  if (!output.hasTerminal) return NONE
  const { cyan, dim } = output.noteStyle
  const format: GenericFormatter = (_, { progress, value }, payload: { details?: string }) => {
    const done = Math.round(Math.min(1, progress) * WIDTH)
    const bar = cyan('━'.repeat(done)) + dim('━'.repeat(WIDTH - done))
    const counts = `${value}/${total} ${unit}`
    return `${bar} ${counts}${payload.details ? `  ${payload.details}` : ''}`
  }
  const options: Options = {
    format,
    stream: output.stderr as unknown as NodeJS.WritableStream,
    clearOnComplete: true,
    hideCursor: true,
    // The terminal cuts a line that is too long; the library would count colours as letters.
    linewrap: false,
    fps: 8,
    // Ctrl-C is the command's own to handle.
    gracefulExit: false,
  }
  const state = { value: 0, details: '' }
  let bar: SingleBar | undefined
  const show = () => {
    bar ??= new SingleBar(options)
    bar.start(total, state.value, { details: state.details })
  }
  const lastLine = { show, hide: () => bar?.stop() }
  output.lastLine = lastLine
  show()
  return {
    update(value, details = state.details) {
      Object.assign(state, { value, details })
      bar?.update(value, { details })
    },
    stop() {
      bar?.stop()
      if (output.lastLine === lastLine) output.lastLine = undefined
    },
  }
}
