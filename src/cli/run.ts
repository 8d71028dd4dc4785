/** @file One call of the command line, from its words to its exit code. */
import { Readable } from 'node:stream'
import { type Command, CommanderError } from 'commander'
import type { ChatTerminal } from './commands/chat.ts'
import { EXIT, messageOf, UsageError } from './exit.ts'
import { Output, type OutputStream } from './output.ts'
import { createProgram } from './program.ts'
import { refuseUnknownOptions } from './unknown-options.ts'

/** Where a call writes to, and what ends it. */
export interface RunContext {
  stdout: OutputStream
  stderr: OutputStream
  /** Stops the command between two steps. */
  signal?: AbortSignal
  /** What commands read that ask for lines; by default nothing. */
  stdin?: ChatTerminal['stdin']
  /** Lets a command have Ctrl-C for itself; returns what gives it back. */
  takeInterrupts?: ChatTerminal['takeInterrupts']
  /** By default the process's. */
  env?: Readonly<Record<string, string | undefined>>
}

/**
 * Runs `peft` with the words after its name. It never ends the process.
 *
 * @returns 0 when done, 1 when it failed, 2 when it was called wrongly
 * @example
 * const code = await run(['info', './bert'], { stdout: process.stdout, stderr: process.stderr })
 */
export async function run(argv: readonly string[], context: RunContext): Promise<number> {
  const { stdout, stderr, signal, env = process.env } = context
  // Options may be wrong before they are read; then this decides how that is told.
  let output = new Output({ stdout, stderr, env, json: argv.includes('--json') })
  const { stdin = Readable.from([]), takeInterrupts = () => () => {} } = context
  const program = createProgram({
    signal,
    terminal: { stdin, stderr, takeInterrupts },
    output: ({ json, quiet }) => (output = new Output({ stdout, stderr, env, json, quiet })),
  })
  for (const command of [program, ...program.commands]) throwInsteadOfExiting(command, context, output.json)
  try {
    refuseUnknownOptions(program, argv)
    await program.parseAsync([...argv], { from: 'user' })
    return EXIT.success
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return EXIT.success
      if (output.json) output.error(error.message.replace(/^error: /, ''))
      return EXIT.usage
    }
    output.error(signal?.aborted && isAbort(error, signal) ? interruption(signal, argv) : messageOf(error))
    if (env.PEFT_DEBUG === '1') stderr.write(`${inspectError(error)}\n`)
    return error instanceof UsageError ? EXIT.usage : EXIT.failed
  }
}

/** What a command says that was stopped. */
function interruption({ reason }: AbortSignal, argv: readonly string[]): string {
  const writes = argv.some(word => /^--out(put)?(=|$)/.test(word))
  return `${messageOf(reason)}.${writes ? ' Nothing was written.' : ''}`
}

function isAbort(error: unknown, signal: AbortSignal): boolean {
  return error === signal.reason || (error as Error | undefined)?.name === 'AbortError'
}

function throwInsteadOfExiting(command: Command, { stdout, stderr }: RunContext, json: boolean): void {
  command.exitOverride().configureOutput({
    writeOut: text => stdout.write(text),
    writeErr: text => {
      // With --json the error is an event, written by the caller.
      if (!json) stderr.write(text)
    },
    getOutHasColors: () => false,
    getErrHasColors: () => false,
  })
}

function inspectError(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.cause === undefined ? `${error.stack}` : `${error.stack}\ncaused by: ${inspectError(error.cause)}`
}
