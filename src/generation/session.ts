/** @file Texts that are read and continued together: rows that come and go, each with its keys and values. */
import type { OutputCopy, TensorData } from '../runtime/index.ts'
import { KeyValueStore, type Span, type StoredTensor } from './key-value-store.ts'
import type { GenerationSettings } from './options.ts'
import type { Program } from './programs.ts'
import { appendRows, constant, selectRows } from './row-inputs.ts'
import type { StepInputs } from './trace.ts'

/** What a session is told. */
export interface SessionOptions extends Pick<GenerationSettings, 'cacheBucket' | 'maxPositions'> {
  /** How many positions of prompts are read in one run, all rows together; by default all. */
  prefillChunk?: number
  /** Prompts longer than this are read in one run whatever {@link prefillChunk} says: their length changes what is computed. */
  wholeBeyond?: number
  padTokenId: number
  /** What the inputs of a step are called. */
  inputs: StepInputs
  /** The tensors of the cache. */
  cache: readonly StoredTensor[]
  /** What the cache holds before every text, the same for all rows. */
  prelude?: Prelude
  /** The values of the parameters that vary. */
  parameters: Readonly<Record<string, TensorData>>
}

/** Positions whose keys and values do not depend on a text. */
export interface Prelude {
  length: number
  /** Computes them into the engine's memory, as the step's outputs are called. */
  compute(store: Readonly<Record<string, readonly OutputCopy[]>>): Promise<unknown>
}

/**
 * Feeds tokens and keeps their keys and values in the engine. All rows end at the same position of the cache: shorter
 * ones begin later, behind places that are masked, as are the places that are not filled yet. A prelude stands in front
 * of all. Rows may join and leave between steps; calls must wait for each other.
 */
export class DecodingSession implements AsyncDisposable {
  readonly #program: Program
  readonly #options: SessionOptions
  /** How many positions the prelude takes. */
  readonly #first: number
  /** How many places in front of each row's text are empty. */
  #starts: readonly number[] = []
  /** Which text each row continues: beams of one text have one number. */
  #texts: number[] = []
  #nextText = 0
  /** Inputs of each row that are the same in every step. */
  #inputs: Readonly<Record<string, TensorData>> = {}
  #store: KeyValueStore | undefined
  #prelude: KeyValueStore | undefined

  constructor(program: Program, options: SessionOptions) {
    this.#program = program
    this.#options = options
    this.#first = options.prelude?.length ?? 0
  }

  /** How many texts there are. */
  get rows(): number {
    return this.#starts.length
  }

  /** How many tokens each row has, virtual ones left out. */
  get lengths(): number[] {
    const end = (this.#store?.length ?? this.#first) - this.#first
    return this.#starts.map(start => end - start)
  }

  /**
   * Reads prompts, which become the last rows.
   *
   * @param rowInputs what belongs to the new rows and is the same in every step, `[prompts, ...]` each
   * @param kept the rows that stay, as for `select`, whose work is saved by this; all by default
   * @returns the logits that follow each prompt
   */
  async join(
    prompts: readonly (readonly number[])[],
    rowInputs: Readonly<Record<string, TensorData>> = {},
    kept: readonly number[] = [...this.#starts.keys()],
  ): Promise<Float32Array[]> {
    await using reading = await this.read(prompts, rowInputs)
    while (!reading.isRead) await reading.next()
    return this.add(reading, kept)
  }

  /** Begins to read prompts, beside the rows, which may step meanwhile; {@link add} makes rows of them. */
  async read(
    prompts: readonly (readonly number[])[],
    rowInputs: Readonly<Record<string, TensorData>> = {},
  ): Promise<PromptReading> {
    const { cacheBucket: bucket, padTokenId, prefillChunk, wholeBeyond = Number.POSITIVE_INFINITY } = this.#options
    const longest = Math.max(...prompts.map(prompt => prompt.length))
    const starts = prompts.map(prompt => longest - prompt.length)
    const padded = prompts.map((prompt, row) => [...Array<number>(starts[row]).fill(padTokenId), ...prompt])
    const isWhole = prefillChunk === undefined || longest > wholeBeyond
    const piece = isWhole ? longest : Math.ceil(prefillChunk / prompts.length)
    const inputs = constant(rowInputs)
    // Alone it becomes the store of the rows, which goes on growing.
    const store = await this.#create(prompts.length, this.#first + longest + (this.rows ? 0 : bucket))
    const next = (from: number, count: number) => {
      const tokens = padded.flatMap(row => row.slice(from, from + count))
      return from === 0
        ? this.#prefill(store, starts, inputs, count, tokens)
        : this.#run(store, store, starts, inputs, count, tokens)
    }
    return new PromptReading({ store, starts, inputs, longest, piece, next })
  }

  /**
   * Makes rows of prompts that were read, behind those that stay.
   *
   * @param kept as for {@link join}
   * @returns the logits that follow each prompt
   */
  async add(reading: PromptReading, kept: readonly number[] = [...this.#starts.keys()]): Promise<Float32Array[]> {
    const { store, starts, inputs, logits } = reading.take()
    const [before, current] = [this.#store, this.#current()]
    const others = kept.map(row => current[row])
    let all: Readonly<Record<string, TensorData>>
    try {
      all = others.length ? appendRows(selectRows(this.#inputs, kept), inputs) : inputs
      if (others.length) await this.#assemble([...others, ...starts.map((start, row) => ({ store, row, start }))])
    } catch (error) {
      await store.free()
      throw error
    }
    if (others.length) await store.free()
    else {
      this.#adopt(store, starts)
      await before?.free()
    }
    this.#inputs = all
    this.#texts = [...kept.map(row => this.#texts[row]), ...starts.map(() => this.#nextText++)]
    return logits
  }

  /** Reads one more token of each row. @returns the logits that follow each */
  async step(tokens: readonly number[]): Promise<Float32Array[]> {
    if (!this.#store || tokens.length !== this.rows) {
      throw new Error(`A step takes one token for each row: got ${tokens.length} for ${this.rows}`)
    }
    if (this.#store.length === this.#store.capacity) await this.#assemble(this.#current(), this.#options.cacheBucket)
    return this.#run(this.#store, this.#store, this.#starts, this.#inputs, 1, tokens)
  }

  /** From now on row `i` is what row `rows[i]` was. Rows may be named several times; those that are not named leave. */
  async select(rows: readonly number[]): Promise<void> {
    const strange = rows.find(row => !(row in this.#starts))
    if (strange !== undefined) throw new Error(`There is no row ${strange} among ${this.rows}`)
    if (rows.length === this.rows && rows.every((row, i) => row === i)) return
    const current = this.#current()
    await this.#assemble(rows.map(row => current[row]))
    const texts = rows.map(row => this.#texts[row])
    // Beams of one text change places; what belongs to the text stays as it is.
    if (texts.join() !== this.#texts.join()) this.#inputs = selectRows(this.#inputs, rows)
    this.#texts = texts
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const stores = [this.#store, this.#prelude]
    this.#store = this.#prelude = undefined
    this.#starts = this.#texts = []
    for (const store of stores) await store?.free()
  }

  #create(rows: number, positions: number, bucket = this.#options.cacheBucket): Promise<KeyValueStore> {
    const { cache } = this.#options
    return KeyValueStore.create(this.#program.engine, cache, { rows, positions, bucket })
  }

  #adopt(store: KeyValueStore | undefined, starts: readonly number[]): void {
    this.#store = store
    this.#starts = starts
  }

  /** The rows as they are. */
  #current(): { store: KeyValueStore; row: number; start: number }[] {
    return this.#starts.map((start, row) => ({ store: this.#store!, row, start }))
  }

  /** Makes a store of rows of others, with room for `room` more positions, and takes it. */
  async #assemble(rows: readonly { store: KeyValueStore; row: number; start: number }[], room = 1): Promise<void> {
    const old = this.#store
    if (rows.length === 0) {
      this.#adopt(undefined, [])
      await old?.free()
      return
    }
    const first = this.#first
    const counts = rows.map(({ store, start }) => store.length - first - start)
    const longest = Math.max(...counts)
    const store = await this.#create(rows.length, first + longest + room)
    const starts = counts.map(count => longest - count)
    try {
      await store.fill(
        rows.map(({ store: from, row, start }, i): Span[] => [
          { store: from, row, from: 0, to: 0, count: first },
          { store: from, row, from: first + start, to: first + starts[i], count: counts[i] },
        ]),
      )
    } catch (error) {
      await store.free()
      throw error
    }
    this.#adopt(store, starts)
    await old?.free()
  }

  /** Reads prompts into a new store. They see nothing but each other and the prelude, so the rest is not fed. */
  async #prefill(
    store: KeyValueStore,
    starts: readonly number[],
    inputs: Readonly<Record<string, TensorData>>,
    count: number,
    tokens: readonly number[],
  ): Promise<Float32Array[]> {
    const seen = await this.#create(store.rows, this.#first, 1)
    try {
      const { prelude } = this.#options
      if (prelude) {
        const filled = (this.#prelude ??= await this.#compute(prelude))
        const span = { store: filled, row: 0, from: 0, to: 0, count: prelude.length }
        const rows = starts.map(() => [span])
        await seen.fill(rows)
        await store.fill(rows)
      }
      return await this.#run(seen, store, starts, inputs, count, tokens)
    } finally {
      await seen.free()
    }
  }

  async #compute({ length, compute }: Prelude): Promise<KeyValueStore> {
    const store = await this.#create(1, length, 1)
    await compute(store.appended(length))
    store.length = length
    return store
  }

  /** Reads the next `count` tokens of each row behind what is `seen`; they are added to `store`. */
  async #run(
    seen: KeyValueStore,
    store: KeyValueStore,
    starts: readonly number[],
    rowInputs: Readonly<Record<string, TensorData>>,
    count: number,
    tokens: readonly number[],
  ): Promise<Float32Array[]> {
    const { inputs, maxPositions, parameters } = this.#options
    const first = this.#first
    const { rows, length, capacity } = seen
    const total = capacity + count
    const positions = new BigInt64Array(rows * count)
    const mask = new BigInt64Array(rows * total)
    for (const [row, start] of starts.entries()) {
      const fill = (from: number, to: number) => mask.fill(1n, row * total + from, row * total + to)
      fill(0, first)
      fill(Math.min(first + start, length), length)
      fill(capacity + Math.max(first + start - length, 0), total)
      for (let i = 0; i < count; i++) {
        // Rows that have ended may still stand in the batch; their positions must only exist.
        const position = Math.min(Math.max(length + i - start, 0), maxPositions - 1)
        positions[row * count + i] = BigInt(position)
      }
    }
    const int64 = (data: BigInt64Array): TensorData => ({ dtype: 'int64', dims: [rows, data.length / rows], data })
    const { logits } = await this.#program.run(
      {
        [inputs.tokens]: int64(BigInt64Array.from(tokens, BigInt)),
        [inputs.mask]: int64(mask),
        [inputs.positions]: int64(positions),
        ...rowInputs,
        ...seen.feeds(),
        ...parameters,
      },
      { store: store.appended(count) },
    )
    store.length += count
    const width = logits.data.length / rows
    return starts.map((_, row) => (logits.data as Float32Array).subarray(row * width, (row + 1) * width))
  }
}

/** Prompts on their way into a session. */
interface ReadingParts {
  store: KeyValueStore
  starts: readonly number[]
  inputs: Readonly<Record<string, TensorData>>
  /** How many positions the longest prompt has. */
  longest: number
  /** How many positions of each row are read at a time. */
  piece: number
  /** Reads the positions of each row from `from` on. */
  next(from: number, count: number): Promise<Float32Array[]>
}

/** Prompts that a session reads piece by piece, between the steps of its rows. Dispose of it where it is not added. */
export class PromptReading implements AsyncDisposable {
  readonly #parts: ReadingParts
  #read = 0
  #logits: Float32Array[] = []
  #isTaken = false

  constructor(parts: ReadingParts) {
    this.#parts = parts
  }

  /** Whether all of it was read. */
  get isRead(): boolean {
    return this.#read === this.#parts.longest
  }

  /** Reads the next piece. */
  async next(): Promise<void> {
    const { longest, piece, next } = this.#parts
    const count = Math.min(piece, longest - this.#read)
    this.#logits = await next(this.#read, count)
    this.#read += count
  }

  /** What was read; from then on its memory belongs to whoever took it. */
  take(): Pick<ReadingParts, 'store' | 'starts' | 'inputs'> & { logits: Float32Array[] } {
    if (!this.isRead || this.#isTaken) {
      throw new Error(
        `Prompts become rows once, when they were read: ${this.#read} of ${this.#parts.longest} positions were`,
      )
    }
    this.#isTaken = true
    return { ...this.#parts, logits: this.#logits }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isTaken) return
    this.#isTaken = true
    await this.#parts.store.free()
  }
}
