/** @file What one row has read and written, as the rules for its next token need it. */

/** The tokens of a row, with what is asked about them at every step. */
export class TokenHistory {
  /** Every token: the beginning, then the new ones. */
  readonly tokens: number[]
  /** How many of them were there before generation. */
  readonly beginning: number
  /** Every token that occurs. */
  readonly seen: Set<number>
  /** How often each new token occurs. */
  readonly counts: Map<number, number>

  /** @param beginning what the decoder reads before the first new token */
  constructor(beginning: readonly number[]) {
    this.tokens = [...beginning]
    this.beginning = beginning.length
    this.seen = new Set(beginning)
    this.counts = new Map()
  }

  /** How many tokens are new. */
  get added(): number {
    return this.tokens.length - this.beginning
  }

  /** The new tokens. */
  get newTokens(): number[] {
    return this.tokens.slice(this.beginning)
  }

  push(token: number): void {
    this.tokens.push(token)
    this.seen.add(token)
    this.counts.set(token, (this.counts.get(token) ?? 0) + 1)
  }

  /** The same row, to be continued in another way, with one more token. */
  with(token: number): TokenHistory {
    const copy: TokenHistory = Object.create(TokenHistory.prototype)
    Object.assign(copy, {
      beginning: this.beginning,
      tokens: this.tokens.slice(),
      seen: new Set(this.seen),
      counts: new Map(this.counts),
    })
    copy.push(token)
    return copy
  }
}
