/** @file Runs the steps of a generation: the prompts first, then one token of each row at a time. */
import type { TensorData } from '../runtime/index.ts'
import { KeyValueStore, type StoredTensor } from './key-value-store.ts'
import type { GenerationSettings } from './options.ts'
import type { Program } from './programs.ts'
import { VECTOR } from './trace.ts'

/** What a decoder is told. */
export interface DecoderOptions
  extends Pick<GenerationSettings, 'maxNewTokens' | 'cacheBucket' | 'window' | 'maxPositions'> {
  padTokenId: number
  /** The tensors of the cache. */
  cache: readonly StoredTensor[]
  /** The values of the parameters that vary. */
  parameters: TensorData
}

/**
 * Feeds tokens and keeps their keys and values. Shorter prompts are filled up on the left, so that every row's next
 * token comes last; what is filled up, and what is not filled yet in the cache, is masked.
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
    this.#store = new KeyValueStore(options.cache, prompts.length, bucketFor(this.#longest, options))
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
    const { cache, maxPositions, parameters } = this.#options
    const batch = this.#prompts.length
    const { length, capacity } = this.#store
    const positions = new BigInt64Array(batch * count)
    const mask = new BigInt64Array(batch * (capacity + count))
    for (const [row, prompt] of this.#prompts.entries()) {
      const start = this.#longest - prompt.length
      const fill = (from: number, to: number) =>
        mask.fill(1n, row * (capacity + count) + from, row * (capacity + count) + to)
      fill(start, length)
      fill(capacity + Math.max(start - length, 0), capacity + count)
      for (let i = 0; i < count; i++) {
        // Rows that have ended stay in the batch; their positions must only exist.
        positions[row * count + i] = BigInt(Math.min(Math.max(length + i - start, 0), maxPositions - 1))
      }
    }
    const int64 = (data: BigInt64Array): TensorData => ({ dtype: 'int64', dims: [batch, data.length / batch], data })
    const { logits, ...added } = await this.#program.run({
      input_ids: int64(BigInt64Array.from(tokens, BigInt)),
      attention_mask: int64(mask),
      position_ids: int64(positions),
      ...this.#store.feeds(),
      [VECTOR]: parameters,
    })
    this.#store.append(
      cache.map(({ name }) => added[`new.${name}`].data as Float32Array),
      count,
    )
    const width = logits.data.length / batch
    return this.#prompts.map((_, row) => (logits.data as Float32Array).subarray(row * width, (row + 1) * width))
  }
}

/**
 * A sliding window counts positions of the cache: where it would hide some, there must be no unused positions between
 * the old and the new.
 */
function bucketFor(longest: number, { maxNewTokens, cacheBucket, window }: DecoderOptions): number {
  return Math.ceil((longest + maxNewTokens) / cacheBucket) * cacheBucket < window ? cacheBucket : 1
}
