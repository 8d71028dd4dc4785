/** @file What a command tells: for people on two streams, or as one JSON event a line. */
import colors from 'picocolors'

/** A stream that text is written to; of a process, or a test's own. */
export interface OutputStream {
  write(text: string): unknown
  readonly isTTY?: boolean
  readonly columns?: number
}

/** How a command tells. */
export interface OutputOptions {
  stdout: OutputStream
  stderr: OutputStream
  /** One event a line on `stdout`, and nothing else anywhere. */
  json?: boolean
  /** No notes and no progress; results, warnings and errors stay. */
  quiet?: boolean
  /** `NO_COLOR`, `FORCE_COLOR` and `TERM` decide about colours. */
  env?: Readonly<Record<string, string | undefined>>
}

/** Something that occupies the last line of the terminal and makes way for other lines. */
export interface LastLine {
  hide(): void
  show(): void
}

/** The fields of an event. */
export type EventData = Readonly<Record<string, unknown>>

/** Whether a stream shows colours: a terminal, unless `NO_COLOR` is set; `FORCE_COLOR` wins over the terminal. */
export function showsColors(stream: OutputStream, env: Readonly<Record<string, string | undefined>>): boolean {
  if (env.NO_COLOR) return false
  if (env.FORCE_COLOR) return env.FORCE_COLOR !== '0'
  return Boolean(stream.isTTY) && env.TERM !== 'dumb'
}

/** The one place that a command writes to. Results go to stdout, everything else to stderr. */
export class Output {
  readonly json: boolean
  readonly quiet: boolean
  readonly stderr: OutputStream
  /** Colours for stdout. */
  readonly style: ReturnType<typeof colors.createColors>
  /** Colours for stderr. */
  readonly noteStyle: ReturnType<typeof colors.createColors>
  /** The progress bar that is on the terminal now. */
  lastLine: LastLine | undefined
  readonly #stdout: OutputStream

  constructor({ stdout, stderr, json = false, quiet = false, env = process.env }: OutputOptions) {
    this.#stdout = stdout
    this.stderr = stderr
    this.json = json
    this.quiet = quiet
    this.style = colors.createColors(!json && showsColors(stdout, env))
    this.noteStyle = colors.createColors(!json && showsColors(stderr, env))
  }

  /** Whether a progress bar can be drawn. */
  get hasTerminal(): boolean {
    return Boolean(this.stderr.isTTY) && !this.json && !this.quiet
  }

  /** Something that happened: an event, or a line on stderr unless `--quiet`. */
  event(event: string, data: EventData, line?: string): void {
    if (this.json) this.#emit(event, data)
    else if (line !== undefined && !this.quiet) this.#lines(this.stderr, line)
  }

  /** Something worth knowing. */
  note(message: string): void {
    this.event('note', { message }, this.noteStyle.dim(message))
  }

  /** Something odd that does not prevent going on. */
  warn(message: string): void {
    if (this.json) this.#emit('warning', { message })
    else this.#lines(this.stderr, `${this.noteStyle.yellow('warning:')} ${message}`)
  }

  /** Why the command failed. */
  error(message: string): void {
    if (this.json) this.#emit('error', { message })
    else this.#lines(this.stderr, `${this.noteStyle.red('error:')} ${message}`)
  }

  /** A part of the result that comes before its end: a row, a piece of text. Written as it is. */
  partial(event: string, data: EventData, text: string): void {
    if (this.json) this.#emit(event, data)
    else this.#write(this.#stdout, text)
  }

  /** The result: the last event, or lines on stdout. */
  result(data: EventData, lines: readonly string[]): void {
    if (this.json) this.#emit('result', data)
    else for (const line of lines) this.#lines(this.#stdout, line)
  }

  #emit(event: string, data: EventData): void {
    this.#stdout.write(`${JSON.stringify({ event, ...data }, jsonValue)}\n`)
  }

  #lines(stream: OutputStream, text: string): void {
    this.#write(stream, `${text}\n`)
  }

  #write(stream: OutputStream, text: string): void {
    this.lastLine?.hide()
    stream.write(text)
    this.lastLine?.show()
  }
}

/** JSON has no NaN and no infinity; as words they are not lost. */
function jsonValue(_key: string, value: unknown): unknown {
  return typeof value === 'number' && !Number.isFinite(value) ? String(value) : value
}
