/** @file The text of an answer while its tokens come, without what ends it. */
import { type Tokenizer, TokenizerDecodeStream } from '../data/index.ts'
import type { FinishReason } from '../models/generator.ts'

/** Turns the tokens of one answer into text. What may become a stop string is held back until that is decided. */
export class AnswerText {
  readonly #stops: readonly string[]
  readonly #stream: TokenizerDecodeStream
  #held = ''

  constructor(tokenizer: Tokenizer, stops: readonly string[]) {
    this.#stops = stops
    this.#stream = new TokenizerDecodeStream(tokenizer)
  }

  /** The text that is certain after one more token, the stop string left out. */
  push(token: number, finished?: FinishReason): string {
    if (finished !== 'eos') this.#held += this.#stream.push(token)
    if (!finished) return this.#take(this.#held.length - beginningLength(this.#held, this.#stops))
    this.#held += this.#stream.finish()
    const found = this.#stops.map(stop => this.#held.indexOf(stop)).filter(at => at >= 0)
    return this.#take(finished === 'stop_string' && found.length ? Math.min(...found) : this.#held.length)
  }

  #take(count: number): string {
    const text = this.#held.slice(0, count)
    this.#held = this.#held.slice(count)
    return text
  }
}

/** How many characters at the end of `text` may be the beginning of one of `strings`. */
export function beginningLength(text: string, strings: readonly string[]): number {
  let longest = 0
  for (const string of strings) {
    for (let length = Math.min(string.length - 1, text.length); length > longest; length--) {
      if (text.endsWith(string.slice(0, length))) longest = length
    }
  }
  return longest
}
