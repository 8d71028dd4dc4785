/** @file Streaming decode: text as soon as it is certain, token by token. */
import type { Tokenizer } from './tokenizer.ts'

const incomplete = '\uFFFD'

/**
 * Turns tokens that arrive one by one into pieces of text. A piece comes only when its characters are complete: a
 * character spread over several byte tokens is held back until its last byte. The pieces joined equal the decoded whole.
 *
 * New text is found by decoding a short window with and without the new tokens, since a token's text depends on those
 * before it (a leading space is dropped at the start of a text, and only there).
 *
 * @example
 * const stream = new TokenizerDecodeStream(tokenizer)
 * for await (const id of ids) process.stdout.write(stream.push(id))
 * process.stdout.write(stream.finish())
 */
export class TokenizerDecodeStream {
  readonly #tokenizer: Tokenizer
  readonly #skipSpecialTokens: boolean
  /** Tokens of the window: those of the last piece, as context, then those not yet shown. */
  #window: number[] = []
  /** How many tokens of the window are context. */
  #context = 0

  /** @param options.skipSpecialTokens leave out special tokens. Default true. */
  constructor(tokenizer: Tokenizer, options: { skipSpecialTokens?: boolean } = {}) {
    this.#tokenizer = tokenizer
    this.#skipSpecialTokens = options.skipSpecialTokens ?? true
  }

  /** Takes the next token or tokens; returns the text that became complete, often the empty string. */
  push(ids: number | bigint | Iterable<number | bigint>): string {
    if (typeof ids === 'number' || typeof ids === 'bigint') this.#window.push(Number(ids))
    else for (const id of ids) this.#window.push(Number(id))
    return this.#take(text => !text.endsWith(incomplete))
  }

  /** Ends the text: returns what was held back (an incomplete character becomes U+FFFD), and starts anew. */
  finish(): string {
    const rest = this.#take(() => true)
    this.#window = []
    this.#context = 0
    return rest
  }

  #take(isReady: (text: string) => boolean): string {
    const shown = this.#decode(this.#window.slice(0, this.#context))
    const text = this.#decode(this.#window)
    if (text.length <= shown.length || !isReady(text)) return ''
    this.#window.splice(0, this.#context)
    this.#context = this.#window.length
    return text.slice(shown.length)
  }

  #decode(ids: number[]): string {
    return this.#tokenizer.decode(ids, { skipSpecialTokens: this.#skipSpecialTokens })
  }
}
