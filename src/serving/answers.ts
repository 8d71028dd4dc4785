/** @file The answers of a request as pieces of text, from the tokens that come. */
import type { Tokenizer } from '../data/index.ts'
import type { FinishReason, TokenLogprob } from '../models/generator.ts'
import { AnswerText } from './answer-text.ts'
import type { RowEvent, RowRequest } from './backend.ts'

/** A token as log-probabilities name it. */
export interface RatedText {
  text: string
  /** Its UTF-8 bytes; null where the token is a part of a character. */
  bytes: number[] | null
  logprob: number
}

/** A token of an answer with its alternatives. */
export interface RatedToken extends RatedText {
  top: RatedText[]
}

/** The next piece of one answer. */
export interface AnswerPiece {
  row: number
  /** What became certain; empty only in the last piece. */
  text: string
  /** The tokens behind it, where log-probabilities were asked for. */
  tokens: RatedToken[]
  finished?: 'stop' | 'length'
}

/** How many tokens a request took. */
export interface Usage {
  prompt_tokens: number
  completion_tokens: number
  total_tokens: number
}

/** The answers to one request. */
export class Answers implements AsyncIterable<AnswerPiece> {
  /** How many tokens were generated so far. */
  newTokens = 0
  readonly #events: AsyncIterable<RowEvent>
  readonly #rows: Answer[]

  constructor(events: AsyncIterable<RowEvent>, rows: readonly RowRequest[], tokenizer: Tokenizer) {
    this.#events = events
    this.#rows = rows.map(row => new Answer(row, tokenizer))
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<AnswerPiece, void> {
    for await (const event of this.#events) {
      this.newTokens++
      const piece = this.#rows[event.row].push(event)
      if (piece) yield { row: event.row, ...piece }
    }
  }

  usage(promptTokens: number): Usage {
    const { newTokens } = this
    return {
      prompt_tokens: promptTokens,
      completion_tokens: newTokens,
      total_tokens: promptTokens + newTokens,
    }
  }
}

/** One answer. */
class Answer {
  readonly #tokenizer: Tokenizer
  readonly #text: AnswerText
  /** The token before the next one, whose text may depend on it. */
  #previous: number
  #tokens: RatedToken[] = []

  constructor({ prompt, settings }: RowRequest, tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer
    this.#text = new AnswerText(tokenizer, settings.stop)
    this.#previous = prompt.at(-1)!
  }

  push({ token, finished, logprob }: RowEvent): Omit<AnswerPiece, 'row'> | undefined {
    if (logprob && finished !== 'eos') {
      const { topLogprobs = [] } = logprob
      this.#tokens.push({ ...this.#rate(logprob), top: topLogprobs.map(one => this.#rate(one)) })
    }
    this.#previous = token
    const text = this.#text.push(token, finished)
    if (text === '' && !finished) return undefined
    const tokens = this.#tokens
    this.#tokens = []
    return { text, tokens, finished: finished && reasonOf(finished) }
  }

  #rate({ token, logprob }: Pick<TokenLogprob, 'token' | 'logprob'>): RatedText {
    const before = this.#tokenizer.decode([this.#previous])
    const text = this.#tokenizer.decode([this.#previous, token]).slice(before.length)
    return { text, bytes: text.includes('\uFFFD') ? null : [...Buffer.from(text)], logprob }
  }
}

function reasonOf(reason: FinishReason): 'stop' | 'length' {
  return reason === 'eos' || reason === 'stop_string' ? 'stop' : 'length'
}
