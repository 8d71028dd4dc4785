#!/usr/bin/env node
/** @file The program `peft`: the command line on the process's own streams and signals. */
import { run } from './run.ts'

const controller = new AbortController()
/** What has Ctrl-C for itself now. */
let onInterrupt: (() => void) | undefined

/** The first signal stops between two steps, so that nothing is half-written; the second ends at once. */
function stop(signal: NodeJS.Signals): void {
  if (signal === 'SIGINT' && onInterrupt) {
    onInterrupt()
    return
  }
  if (controller.signal.aborted) process.exit(1)
  if (signal === 'SIGINT')
    process.stderr.write('\nStopping as soon as this step is done; press Ctrl-C again to end at once.\n')
  controller.abort(new Error(signal === 'SIGINT' ? 'Interrupted by Ctrl-C' : `Ended by ${signal}`))
}

process.on('SIGINT', stop)
process.on('SIGTERM', stop)
/** A reader such as `head` that has seen enough is no failure, but a training must not be lost to it. */
function onClosedPipe(): void {
  const [, , command] = process.argv
  // Those who ask by HTTP still read.
  if (command === 'serve' || command === 'ui') return
  if (command !== 'train') process.exit(0)
  controller.abort(new Error('Nobody reads the output any more'))
}

for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
    onClosedPipe()
  })
}

process.exitCode = await run(process.argv.slice(2), {
  stdout: process.stdout,
  stderr: process.stderr,
  stdin: process.stdin,
  signal: controller.signal,
  takeInterrupts(handler) {
    onInterrupt = handler
    return () => {
      onInterrupt = undefined
    }
  },
})
