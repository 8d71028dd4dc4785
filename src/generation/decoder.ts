/** @file Runs the steps of a generation: the prompts first, then one token of each row at a time. */
import type { TensorData } from '../runtime/index.ts'
import { KeyValueStore, type StoredTensor } from './key-value-store.ts'
import type { GenerationSettings } from './options.ts'
import type { Program } from './programs.ts'
import type { StepInputs } from './trace.ts'

/** What a decoder is told. */
export interface DecoderOptions
  extends Pick<GenerationSettings, 'maxNewTokens' | 'cacheBucket' | 'window' | 'maxPositions'> {
  padTokenId: number
  /** What the inputs of a step are called. */
  inputs: StepInputs
  /** Inputs that are the same in every step. */
  constants?: Readonly<Record<string, TensorData>>
  /** The tensors of the cache. */
  cache: readonly StoredTensor[]
  /** What the cache holds before the prompts, the same for all rows. */
  prelude?: FilledPositions
  /** The values of the parameters that vary. */
  parameters: Readonly<Record<string, TensorData>>
}

/** Positions whose keys and values are known. */
export interface FilledPositions {
  length: number
  /** `[1, heads, length, width]` for each tensor of the cache, by its name. */
  values: Readonly<Record<string, TensorData>>
}

/**
 * Feeds tokens and keeps their keys and values. Shorter prompts are filled up on the left, so that every row's next
 * token comes last; what is filled up, and what is not filled yet in the cache, is masked. A prelude stands in front of
 * what is filled up, and positions go on behind it.
 */
export class Decoder {
  readonly #program: Program
  readonly #prompts: readonly (readonly number[])[]
  readonly #options: DecoderOptions
  /** The length of the longest prompt. */
  readonly #longest: number
  readonly #store: KeyValueStore

  constructor(program: Program, prompts: readonly (readonly number[])[], options: DecoderOptions) {
    this.#program = program
    this.#prompts = prompts
    this.#options = options
    this.#longest = Math.max(...prompts.map(prompt => prompt.length))
    const { cache, prelude } = options
    const first = prelude?.length ?? 0
    this.#store = new KeyValueStore(cache, prompts.length, bucketFor(first + this.#longest, options))
    if (!prelude) return
    this.#store.append(
      cache.map(({ name }) => repeated(prelude.values[name].data as Float32Array, prompts.length)),
      first,
    )
  }

  /** The logits that follow the prompts, one array a row. */
  prefill(): Promise<Float32Array[]> {
    return this.#run(
      this.#longest,
      this.#prompts.flatMap(prompt => [
        ...Array(this.#longest - prompt.length).fill(this.#options.padTokenId),
        ...prompt,
      ]),
    )
  }

  /** The logits that follow one more token of each row. */
  step(tokens: readonly number[]): Promise<Float32Array[]> {
    return this.#run(1, tokens)
  }

  async #run(count: number, tokens: readonly number[]): Promise<Float32Array[]> {
    const { cache, constants, inputs, maxPositions, parameters, prelude } = this.#options
    const first = prelude?.length ?? 0
    const batch = this.#prompts.length
    const { length, capacity } = this.#store
    const positions = new BigInt64Array(batch * count)
    const mask = new BigInt64Array(batch * (capacity + count))
    for (const [row, prompt] of this.#prompts.entries()) {
      const start = this.#longest - prompt.length
      const fill = (from: number, to: number) =>
        mask.fill(1n, row * (capacity + count) + from, row * (capacity + count) + to)
      fill(0, first)
      fill(Math.min(first + start, length), length)
      fill(capacity + Math.max(first + start - length, 0), capacity + count)
      for (let i = 0; i < count; i++) {
        // Rows that have ended stay in the batch; their positions must only exist.
        positions[row * count + i] = BigInt(Math.min(Math.max(length + i - start, 0), maxPositions - 1))
      }
    }
    const int64 = (data: BigInt64Array): TensorData => ({ dtype: 'int64', dims: [batch, data.length / batch], data })
    const { logits, ...added } = await this.#program.run({
      [inputs.tokens]: int64(BigInt64Array.from(tokens, BigInt)),
      [inputs.mask]: int64(mask),
      [inputs.positions]: int64(positions),
      ...constants,
      ...this.#store.feeds(),
      ...parameters,
    })
    this.#store.append(
      cache.map(({ name }) => added[`new.${name}`].data as Float32Array),
      count,
    )
    const width = logits.data.length / batch
    return this.#prompts.map((_, row) => (logits.data as Float32Array).subarray(row * width, (row + 1) * width))
  }
}

/** The same values for each of `count` rows. */
function repeated(values: Float32Array, count: number): Float32Array {
  const rows = new Float32Array(values.length * count)
  for (let row = 0; row < count; row++) rows.set(values, row * values.length)
  return rows
}

/**
 * A sliding window counts positions of the cache: where it would hide some, there must be no unused positions between
 * the old and the new.
 */
function bucketFor(longest: number, { maxNewTokens, cacheBucket, window }: DecoderOptions): number {
  return Math.ceil((longest + maxNewTokens) / cacheBucket) * cacheBucket < window ? cacheBucket : 1
}
