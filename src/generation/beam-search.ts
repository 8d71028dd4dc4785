/** @file Beam search: the likeliest continuations of one prompt side by side, as Transformers searches. */
import type { FinishReason, TokenLogprob } from '../models/generator.ts'
import { Random } from '../util/random.ts'
import { type ChooserOptions, processed } from './chooser.ts'
import { TokenHistory } from './history.ts'
import { logSumExp } from './logits.ts'
import { type GenerationSettings, newTokenLimit } from './options.ts'
import { type LogitsProcessor, logitsProcessors } from './processors.ts'
import { mostLikely, narrow } from './sampling.ts'
import { tokenLogprob } from './token-logprobs.ts'

/** A text that is being written. */
interface Beam {
  history: TokenHistory
  /** The sum of the scores of its new tokens. */
  score: number
  logprobs: readonly TokenLogprob[]
}

/** A continuation of a beam. */
interface Continuation {
  beam: number
  token: number
  score: number
  /** What decides between continuations: the score, or what was drawn. */
  rank: number
}

/** A text that has ended. */
export interface Hypothesis {
  newTokens: number[]
  /** Its log-probability as processors left it, divided by its length to the power of `lengthPenalty`. */
  score: number
  finishReason: FinishReason
  /** Empty unless `logprobs` were asked for. */
  logprobs: readonly TokenLogprob[]
}

/** What beam search is told. */
export interface BeamSearchOptions extends ChooserOptions {
  settings: GenerationSettings
}

/**
 * The beams of one prompt. Prompts know nothing of each other: each gets in a batch what it would get alone.
 *
 * @example
 * let next = search.next([logitsOfThePrompt])
 * while (next) next = search.next(await logitsAfter(next))
 * search.best(1)
 */
export class BeamSearch {
  readonly #options: BeamSearchOptions
  readonly #processors: readonly LogitsProcessor[]
  readonly #maxNewTokens: number
  readonly #random: Random
  /** How many candidates are looked at, so that enough remain when some end. */
  readonly #kept: number
  /** How many tokens each beam keeps when they are narrowed before drawing. */
  readonly #least: number
  /** The beams that go on, the best first. */
  #running: Beam[]
  /** The best texts that have ended, the best first. */
  #finished: Hypothesis[] = []
  #improvable = true

  constructor(options: BeamSearchOptions) {
    const { settings, tokens, beginning, source, row = 0 } = options
    this.#options = options
    // No position is left to read what would come later.
    this.#maxNewTokens = Math.min(
      newTokenLimit(settings, beginning.length),
      settings.maxPositions + 1 - beginning.length,
    )
    const context = { tokens, beginning: beginning.length, maxNewTokens: this.#maxNewTokens, source }
    this.#processors = logitsProcessors(settings, context)
    this.#random = new Random(settings.seed).fork(`row ${row}`)
    this.#kept = Math.max(2, 1 + tokens.eosTokenIds.length) * settings.numBeams
    this.#least = Math.max(2, 1 + tokens.eosTokenIds.length)
    this.#running = [{ history: new TokenHistory(beginning), score: 0, logprobs: [] }]
  }

  /**
   * Takes one step.
   *
   * @param logits after each of the beams that the last step gave; at first after the prompt
   * @returns the beams that go on: their newest token, and which of the last ones each continues; undefined at the end
   */
  next(logits: readonly Float32Array[]): { beam: number; token: number }[] | undefined {
    const { settings } = this.#options
    const continuations = this.#continuations(logits)
    const extended = continuations.map(({ beam, token, score }): Beam => {
      const { history, logprobs } = this.#running[beam]
      return {
        history: history.with(token),
        score,
        logprobs: settings.logprobs ? [...logprobs, tokenLogprob(logits[beam], token, settings.topLogprobs)] : logprobs,
      }
    })
    const reasons = extended.map(({ history }) => this.#reason(history))
    this.#finish(extended, reasons)

    const open = extended.flatMap((beam, i) => (reasons[i] ? [] : [{ beam, from: continuations[i] }]))
    open.sort((a, b) => b.beam.score - a.beam.score)
    const going = open.slice(0, settings.numBeams)
    const added = this.#running[0].history.added + 1
    this.#running = going.map(({ beam }) => beam)
    if (going.length === 0 || this.#isDone(added)) return undefined
    return going.map(({ from }) => ({ beam: from.beam, token: from.token }))
  }

  /** The best `count` texts, the best first. Throws where there are fewer. */
  best(count: number): Hypothesis[] {
    if (this.#finished.length >= count) return this.#finished.slice(0, count)
    throw new Error(
      `generate: only ${this.#finished.length} of ${count} texts of a prompt are possible under the options; ` +
        'lower numReturnSequences, or forbid less',
    )
  }

  /** The best continuations of all beams: the best by score, or with `doSample` drawn by it. */
  #continuations(logits: readonly Float32Array[]): Continuation[] {
    const { settings } = this.#options
    const best = new BestOf(this.#kept)
    for (const [beam, { history, score: sum }] of this.#running.entries()) {
      const scores = this.#scores(logits[beam], history)
      if (!settings.doSample) {
        const offset = settings.renormalizeLogits ? sum - logSumExp(scores) : sum
        for (let token = 0; token < scores.length; token++) {
          const score = Math.fround(scores[token] + offset)
          if (score > best.lowest) best.add({ beam, token, score, rank: score })
        }
        continue
      }
      const candidates = narrow(scores, settings, this.#least)
      const total = settings.renormalizeLogits ? logSumExp(candidates.scores.subarray(0, candidates.count)) : 0
      for (let i = 0; i < candidates.count; i++) {
        const score = Math.fround(candidates.scores[i] - total + sum)
        // The largest sums with noise of this distribution are a draw by probability without putting back.
        const rank = score - Math.log(-Math.log(1 - this.#random.uniform()))
        if (rank > best.lowest) best.add({ beam, token: candidates.tokens[i], score, rank })
      }
    }
    return best.sorted()
  }

  /** The log-probabilities after a beam, as processors leave them. */
  #scores(logits: Float32Array, history: TokenHistory): Float32Array {
    // Throws where the model gives no numbers.
    mostLikely(logits)
    const total = logSumExp(logits)
    return processed(
      logits,
      [
        scores => {
          for (let token = 0; token < scores.length; token++) scores[token] -= total
        },
        ...this.#processors,
      ],
      history,
    )
  }

  #reason(history: TokenHistory): FinishReason | undefined {
    const { settings, tokens, beginning } = this.#options
    if (tokens.eosTokenIds.includes(history.tokens.at(-1)!)) return 'eos'
    if (settings.stopStrings.length) {
      const text = settings.tokenizer!.decode(history.newTokens, { skipSpecialTokens: false })
      if (settings.stopStrings.some(string => text.includes(string))) return 'stop_string'
    }
    if (history.added < this.#maxNewTokens) return undefined
    return history.added === newTokenLimit(settings, beginning.length) ? 'length' : 'context_length'
  }

  /** Keeps the best of the texts that have ended. Only those among the best `numBeams` continuations count. */
  #finish(extended: readonly Beam[], reasons: readonly (FinishReason | undefined)[]): void {
    const { numBeams, lengthPenalty, earlyStopping } = this.#options.settings
    if (!this.#improvable || (earlyStopping === true && this.#finished.length === numBeams)) return
    for (const [i, { history, score, logprobs }] of extended.slice(0, numBeams).entries()) {
      const finishReason = reasons[i]
      if (!finishReason) continue
      const { added, newTokens } = history
      this.#finished.push({
        newTokens,
        score: Math.fround(score / added ** lengthPenalty),
        finishReason,
        logprobs,
      })
    }
    this.#finished.sort((a, b) => b.score - a.score)
    this.#finished.length = Math.min(this.#finished.length, numBeams)
  }

  /** Whether nothing better is to be expected, as `earlyStopping` says. */
  #isDone(added: number): boolean {
    const { numBeams, lengthPenalty, earlyStopping } = this.#options.settings
    const length = earlyStopping === 'never' && lengthPenalty > 0 ? this.#maxNewTokens : added
    const possible = this.#running[0].score / length ** lengthPenalty
    const isFull = this.#finished.length === numBeams
    const worst = isFull ? this.#finished[numBeams - 1].score : Number.NEGATIVE_INFINITY
    if (!(possible > worst)) this.#improvable = false
    return !this.#improvable || (isFull && earlyStopping === true)
  }
}

/** The continuations of the highest ranks among all that are added. */
class BestOf {
  /** What a further one must exceed. */
  lowest = Number.NEGATIVE_INFINITY
  readonly #size: number
  /** A heap, the lowest rank first. */
  readonly #heap: Continuation[] = []

  constructor(size: number) {
    this.#size = size
  }

  add(continuation: Continuation): void {
    const heap = this.#heap
    if (heap.length < this.#size) {
      let at = heap.push(continuation) - 1
      while (at > 0) {
        const parent = (at - 1) >> 1
        if (heap[parent].rank <= continuation.rank) break
        heap[at] = heap[parent]
        at = parent
      }
      heap[at] = continuation
    } else {
      let at = 0
      while (true) {
        let child = 2 * at + 1
        if (child + 1 < heap.length && heap[child + 1].rank < heap[child].rank) child++
        if (child >= heap.length || heap[child].rank >= continuation.rank) break
        heap[at] = heap[child]
        at = child
      }
      heap[at] = continuation
    }
    if (heap.length === this.#size) this.lowest = heap[0].rank
  }

  /** The highest first; the first of equal ones first. */
  sorted(): Continuation[] {
    return this.#heap.sort((a, b) => b.rank - a.rank || a.beam - b.beam || a.token - b.token)
  }
}
