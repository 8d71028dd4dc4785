/** @file The tokens among which one is drawn, and what narrows them. */
import { firstOfMass, nthLargest } from './select.ts'

/**
 * Tokens with their scores, in the order of the vocabulary. What narrows them computes what Transformers' warpers
 * compute, each from the probabilities among the tokens that are left. `least` is the number of tokens that always stay.
 */
export class Candidates {
  count = 0
  tokens = new Int32Array(0)
  scores = new Float32Array(0)
  /** Proportional to the probabilities, the largest 1; of the last {@link weigh}. */
  weights = new Float64Array(0)
  #items = new Int32Array(0)
  #keys = new Float64Array(0)
  /** The logarithm of the sum of the exponentials of the scores; of the last {@link weigh}. */
  #logTotal = 0

  /** Takes the tokens whose score is at least `lowest`, impossible ones left out. */
  take(scores: Float32Array, lowest = Number.NEGATIVE_INFINITY): void {
    this.#reserve(scores.length)
    this.count = 0
    for (let token = 0; token < scores.length; token++) {
      if (!(scores[token] >= lowest && scores[token] > Number.NEGATIVE_INFINITY)) continue
      this.tokens[this.count] = token
      this.scores[this.count++] = scores[token]
    }
  }

  /** Computes the weights; returns their sum. */
  weigh(): number {
    let largest = Number.NEGATIVE_INFINITY
    for (let i = 0; i < this.count; i++) if (this.scores[i] > largest) largest = this.scores[i]
    let total = 0
    for (let i = 0; i < this.count; i++) total += this.weights[i] = Math.exp(this.scores[i] - largest)
    this.#logTotal = largest + Math.log(total)
    return total
  }

  /** Takes `shift` from the scores and divides them by the temperature. */
  temper(temperature: number, shift = 0): void {
    if (temperature === 1 && shift === 0) return
    for (let i = 0; i < this.count; i++) this.scores[i] = (this.scores[i] - shift) / temperature
  }

  /** Keeps the fewest most likely tokens that have the probability `p` together (arXiv 1904.09751). */
  topP(p: number, least = 1): void {
    const total = this.weigh()
    this.#order()
    const { scores } = this
    const likelier = (a: number, b: number) => scores[a] > scores[b] || (scores[a] === scores[b] && a < b)
    this.#keepFirst(likelier, p * total, least)
  }

  /** Keeps tokens with at least the share `p` of the most likely one's probability. */
  minP(p: number, least = 1): void {
    this.weigh()
    const lowest = this.#nthLargest(least)
    this.#keep(i => this.weights[i] >= p || this.scores[i] >= lowest)
  }

  /** Keeps the tokens that tell about as much as is to be expected, `p` together (arXiv 2202.00666). */
  typicalP(p: number, least = 1): void {
    const total = this.weigh()
    const entropy = this.#entropy(total)
    const keys = this.#keys
    for (let i = 0; i < this.count; i++) keys[i] = Math.abs(this.#surprise(i) - entropy)
    this.#order()
    const closer = (a: number, b: number) => keys[a] < keys[b] || (keys[a] === keys[b] && a < b)
    this.#keepFirst(closer, p * total, least, keys)
  }

  /** Keeps tokens with at least the probability `epsilon` (arXiv 2210.15191). */
  epsilonCutoff(epsilon: number, least = 1): void {
    const total = this.weigh()
    const lowest = this.#nthLargest(least)
    this.#keep(i => this.weights[i] >= epsilon * total || this.scores[i] >= lowest)
  }

  /** Keeps tokens with a probability that is not small for how open the choice is (arXiv 2210.15191). */
  etaCutoff(epsilon: number, least = 1): void {
    const total = this.weigh()
    const eta = Math.min(epsilon, Math.sqrt(epsilon) * Math.exp(-this.#entropy(total)))
    const lowest = this.#nthLargest(least)
    this.#keep(i => this.weights[i] >= eta * total || this.scores[i] >= lowest)
  }

  /** How much a token tells: the negative logarithm of its probability. */
  #surprise(i: number): number {
    return this.#logTotal - this.scores[i]
  }

  #entropy(total: number): number {
    let entropy = 0
    for (let i = 0; i < this.count; i++) {
      entropy += (this.weights[i] / total) * this.#surprise(i)
    }
    return entropy
  }

  /**
   * Keeps what comes first in an order, until its weights make `mass`, but no fewer than `least`; with `keys`, which the
   * order follows, also what is equal to the last that is kept.
   */
  #keepFirst(comesBefore: (a: number, b: number) => boolean, mass: number, least: number, keys?: Float64Array): void {
    const items = this.#items
    let kept = firstOfMass(items, this.count, comesBefore, i => this.weights[i], mass)
    const flags = new Uint8Array(this.count)
    if (keys) {
      let last = Number.NEGATIVE_INFINITY
      for (let i = 0; i < kept; i++) last = Math.max(last, keys[items[i]])
      for (let i = 0; i < this.count; i++) if (keys[i] <= last) flags[i] = 1
    }
    if (kept < least) kept = firstOfMass(items, this.count, comesBefore, () => 1, least)
    for (let i = 0; i < kept; i++) flags[items[i]] = 1
    this.#keep(i => flags[i] === 1)
  }

  #nthLargest(n: number): number {
    return n >= this.count ? Number.NEGATIVE_INFINITY : nthLargest(this.scores.subarray(0, this.count), n)
  }

  #keep(stays: (i: number) => boolean): void {
    let kept = 0
    for (let i = 0; i < this.count; i++) {
      if (!stays(i)) continue
      this.tokens[kept] = this.tokens[i]
      this.scores[kept] = this.scores[i]
      this.weights[kept++] = this.weights[i]
    }
    this.count = kept
  }

  #order(): void {
    for (let i = 0; i < this.count; i++) this.#items[i] = i
  }

  #reserve(size: number): void {
    if (size <= this.tokens.length) return
    this.tokens = new Int32Array(size)
    this.scores = new Float32Array(size)
    this.weights = new Float64Array(size)
    this.#items = new Int32Array(size)
    this.#keys = new Float64Array(size)
  }
}
