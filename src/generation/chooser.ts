/** @file What decides about the tokens of one row: the rules of its options, the drawing, the end. */
import type { FinishReason, TokenLogprob } from '../models/generator.ts'
import { Random } from '../util/random.ts'
import { TokenHistory } from './history.ts'
import type { SpecialTokens } from './model-files.ts'
import { type ChoiceSettings, newTokenLimit } from './options.ts'
import { type LogitsProcessor, logitsProcessors } from './processors.ts'
import { mostLikely, sample } from './sampling.ts'
import { StopStringDetector } from './stop-strings.ts'
import { tokenLogprob } from './token-logprobs.ts'

/** A row that tokens are chosen for. */
export interface ChooserOptions {
  settings: ChoiceSettings
  tokens: SpecialTokens
  /** What the decoder reads before the first new token: the prompt, behind an encoder the start. */
  beginning: readonly number[]
  /** What the encoder read; the prompt where there is no encoder, undefined for recordings. */
  source: readonly number[] | undefined
  /** Which row of its batch it is: rows with one seed draw apart from each other (0). */
  row?: number
}

/** A token that was chosen. */
export interface ChosenToken {
  token: number
  /** Why the row ends with it, if it does. */
  finished?: FinishReason
  /** With `logprobs`. */
  logprob?: TokenLogprob
}

/**
 * Chooses the tokens of one row, one after the other, from the logits that follow it. Rows know nothing of each other, so
 * that each of a batch may have settings of its own, and gets what it would get alone.
 *
 * @example
 * const chooser = new TokenChooser({ settings, tokens, beginning: prompt, source: prompt })
 * while (!chooser.finished) {
 *   const { token } = chooser.next(logits)
 *   ;[logits] = await session.step([token])
 * }
 */
export class TokenChooser {
  /** Why the row has ended; undefined while it goes on. */
  finished: FinishReason | undefined
  readonly #settings: ChoiceSettings
  readonly #tokens: SpecialTokens
  readonly #processors: readonly LogitsProcessor[]
  readonly #history: TokenHistory
  readonly #random: Random
  readonly #stop: StopStringDetector | undefined
  readonly #maxNewTokens: number

  /** @throws when there is no room for a token, or an option needs what the model does not have */
  constructor({ settings, tokens, beginning, source, row = 0 }: ChooserOptions) {
    const { seed, stopStrings, tokenizer } = settings
    this.#settings = settings
    this.#tokens = tokens
    this.#history = new TokenHistory(beginning)
    const maxNewTokens = newTokenLimit(settings, beginning.length)
    this.#maxNewTokens = maxNewTokens
    this.#processors = logitsProcessors(settings, { tokens, beginning: beginning.length, maxNewTokens, source })
    // A row draws the same whether or not others end before it.
    this.#random = new Random(seed).fork(`row ${row}`)
    this.#stop = stopStrings.length ? new StopStringDetector(stopStrings, tokenizer!) : undefined
  }

  /** The tokens that were chosen. */
  get newTokens(): number[] {
    return this.#history.newTokens
  }

  /**
   * Chooses the next token.
   *
   * @param logits of the whole vocabulary; they stay as they are
   * @throws when the model gives no numbers, or the options leave no token
   */
  next(logits: Float32Array): ChosenToken {
    if (this.finished) throw new Error(`The row has ended (${this.finished}); it takes no more tokens`)
    const { doSample, logprobs, topLogprobs } = this.#settings
    const scores = processed(logits, this.#processors, this.#history)
    const token = doSample ? sample(scores, this.#settings, this.#random) : mostLikely(scores)
    this.#history.push(token)
    this.finished = this.#reason(token)
    const chosen: ChosenToken = { token, finished: this.finished }
    if (logprobs) chosen.logprob = tokenLogprob(logits, token, topLogprobs)
    return chosen
  }

  #reason(token: number): FinishReason | undefined {
    if (this.#tokens.eosTokenIds.includes(token)) return 'eos'
    if (this.#stop?.push(token)) return 'stop_string'
    if (this.#history.added >= this.#maxNewTokens) return 'length'
    // The newest token has to be read to choose another, and there is no position for it.
    return this.#history.tokens.length > this.#settings.maxPositions ? 'context_length' : undefined
  }
}

/** Where scores are changed; choices do not overlap. */
let scratch = new Float32Array(0)

/**
 * The scores that processors make of `logits`, in a place that the next call overwrites; `logits` themselves where there
 * are no processors.
 *
 * @throws when they leave no token
 */
export function processed(
  logits: Float32Array,
  processors: readonly LogitsProcessor[],
  history: TokenHistory,
): Float32Array {
  if (processors.length === 0) return logits
  if (scratch.length < logits.length) scratch = new Float32Array(logits.length)
  const scores = scratch.subarray(0, logits.length)
  scores.set(logits)
  for (const process of processors) process(scores, history)
  if (!scores.some(score => score > Number.NEGATIVE_INFINITY)) {
    // Throws where the model itself gives no numbers.
    mostLikely(logits)
    throw new Error(
      `generate: the options forbid every token at place ${history.added} of the new ones; allow some of what ` +
        'noRepeatNgramSize, badWordsIds, sequenceBias, logitBias, suppressTokens and their like forbid',
    )
  }
  return scores
}
