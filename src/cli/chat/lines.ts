/** @file The lines that someone types, or that come through a pipe, one after the other. */
import { createInterface, type Interface } from 'node:readline'
import type { OutputStream } from '../output.ts'

/** Where lines come from. */
export type InputStream = NodeJS.ReadableStream & { readonly isTTY?: boolean }

/** What {@link Lines} is made with. */
export interface LinesOptions {
  /** What the prompt and what is typed appear on, where the input is a terminal. */
  screen: OutputStream
  /** Called when Ctrl-C is pressed. */
  onInterrupt(): void
  /** Called when the input ends: Ctrl-D, or the end of a pipe. */
  onEnd(): void
}

/** Lines that wait until they are asked for. */
export class Lines {
  /** Whether someone types. */
  readonly isTerminal: boolean
  readonly #reader: Interface
  readonly #waiting: string[] = []
  #isClosed = false
  #take: ((line: string | undefined) => void) | undefined

  constructor(input: InputStream, { screen, onInterrupt, onEnd }: LinesOptions) {
    this.isTerminal = Boolean(input.isTTY && screen.isTTY)
    const output = this.isTerminal ? (screen as unknown as NodeJS.WritableStream) : undefined
    this.#reader = createInterface({ input, output, terminal: this.isTerminal, crlfDelay: Number.POSITIVE_INFINITY })
    this.#reader.on('line', line => this.#give(line))
    this.#reader.on('SIGINT', onInterrupt)
    this.#reader.on('close', () => {
      this.#isClosed = true
      this.#give(undefined)
      onEnd()
    })
  }

  /** The next line; undefined when there are no more. On a terminal `prompt` stands before it. */
  async next(prompt: string): Promise<string | undefined> {
    const ready = this.#waiting.shift()
    if (ready !== undefined || this.#isClosed) return ready
    if (this.isTerminal) {
      this.#reader.setPrompt(prompt)
      this.#reader.prompt()
    }
    return new Promise(resolve => {
      this.#take = resolve
    })
  }

  /** Shows the prompt again, with nothing typed. */
  restart(): void {
    if (!this.isTerminal) return
    // Ctrl-U and Ctrl-K: what stands before and behind the cursor goes.
    this.#reader.write(null, { ctrl: true, name: 'u' })
    this.#reader.write(null, { ctrl: true, name: 'k' })
    this.#reader.prompt()
  }

  /** No more lines are read. */
  close(): void {
    if (!this.#isClosed) this.#reader.close()
  }

  #give(line: string | undefined): void {
    const take = this.#take
    this.#take = undefined
    if (take) take(line)
    else if (line !== undefined) this.#waiting.push(line)
  }
}
