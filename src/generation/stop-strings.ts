/** @file Finding stop strings in a text that appears piece by piece. */
import { type Tokenizer, TokenizerDecodeStream } from '../data/index.ts'
import type { TokenDecoder } from '../models/generator.ts'

/** Tells when one of several strings has appeared in the text of the tokens so far, special tokens included. */
export class StopStringDetector {
  readonly #strings: readonly string[]
  readonly #stream: TokenizerDecodeStream
  readonly #reach: number
  /** The end of the text, as far back as a string that has not appeared yet can begin. */
  #tail = ''

  constructor(strings: readonly string[], tokenizer: TokenDecoder) {
    this.#strings = strings
    this.#reach = Math.max(...strings.map(text => text.length)) - 1
    // It only decodes.
    this.#stream = new TokenizerDecodeStream(tokenizer as Tokenizer, { skipSpecialTokens: false })
  }

  /** Takes the next token; whether a string is complete now. */
  push(token: number): boolean {
    const text = this.#tail + this.#stream.push(token)
    this.#tail = this.#reach > 0 ? text.slice(-this.#reach) : ''
    return this.#strings.some(string => text.includes(string))
  }
}

/**
 * Takes stop strings, and what follows them, out of a text that comes in pieces. What could be the beginning of a stop
 * string is held back until that is decided: what was given out is never taken back.
 */
export class StopStringFilter {
  /** Whether a stop string has come: the text is complete. */
  stopped = false
  readonly #strings: readonly string[]
  #held = ''

  /** @param strings none of them empty */
  constructor(strings: readonly string[]) {
    this.#strings = strings
  }

  /** Takes a piece; gives the text that is certain now. */
  push(piece: string): string {
    if (this.stopped) return ''
    const text = this.#held + piece
    const found = this.#strings.map(string => text.indexOf(string)).filter(at => at >= 0)
    if (found.length) {
      this.stopped = true
      this.#held = ''
      return text.slice(0, Math.min(...found))
    }
    const open = this.#openFrom(text)
    this.#held = text.slice(open)
    return text.slice(0, open)
  }

  /** Ends the text; gives what was held back. */
  finish(): string {
    const rest = this.#held
    this.#held = ''
    return rest
  }

  /** The first place from which on the text could become a stop string. */
  #openFrom(text: string): number {
    const reach = Math.max(0, ...this.#strings.map(string => string.length - 1))
    for (let from = Math.max(0, text.length - reach); from < text.length; from++) {
      const end = text.slice(from)
      if (this.#strings.some(string => string.startsWith(end))) return from
    }
    return text.length
  }
}
