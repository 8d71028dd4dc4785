/** @file Finding stop strings in a text that appears token by token. */
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
