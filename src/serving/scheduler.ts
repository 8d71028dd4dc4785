/** @file Continuous batching: rows join a running batch between two steps, and leave it when they end. */
import type { Load, RowEvent, RowRequest } from './backend.ts'
import { Channel } from './channel.ts'
import { ApiError, badRequest } from './errors.ts'

/** Rows that are computed together. Calls wait for each other. */
export interface Batch {
  /** Begins to read prompts, between the pieces of which the batch may step. */
  read(rows: readonly RowRequest[]): Promise<Reading>
  /** Reads one more token of each row. @returns the logits that follow each */
  step(tokens: readonly number[]): Promise<Float32Array[]>
  /** From now on row `i` is what row `rows[i]` was; the others leave. */
  select(rows: readonly number[]): Promise<void>
  close(): Promise<void>
}

/** Prompts that a batch reads piece by piece. */
export interface Reading {
  /** Reads the next piece. @returns whether it was the last */
  next(): Promise<boolean>
  /** Makes rows of what was read, behind those of `kept`; others leave. @returns the logits that follow each */
  join(kept: readonly number[]): Promise<Float32Array[]>
  /** Frees what was read. */
  drop(): Promise<void>
}

/** Chooses the tokens of one row. */
export interface Chooser {
  next(logits: Float32Array): Omit<RowEvent, 'row'>
}

/** What a {@link Scheduler} works with. */
export interface SchedulerOptions {
  /** Models of one lane are computed in one batch; batches of different lanes follow each other. */
  laneOf(model: string): string
  open(lane: string): Promise<Batch>
  choose(row: RowRequest): Chooser
  /** The most rows of a batch. */
  maxBatch: number
  /** The most rows that wait when a batch is full. */
  maxQueue: number
  /** How many positions prompts that join together may have, the filled-up ones counted; a single prompt always joins. */
  maxPrefill: number
}

/** Rows that were asked for together. */
interface Job {
  channel: Channel<RowEvent>
  /** How many of its rows have not ended. */
  left: number
  /** Whether nobody waits for its tokens any more. */
  isOver: boolean
}

/** A row that waits, or is computed. */
interface Row {
  job: Job
  index: number
  request: RowRequest
  /** The newest token. */
  last: number
  hasEnded: boolean
  chooser?: Chooser
}

/** Seconds after which a client may ask again when the queue is full. */
const RETRY_AFTER = '1'

/** Computes rows of many requests in one batch, in the order in which they came. */
export class Scheduler {
  readonly #options: SchedulerOptions
  #waiting: Row[] = []
  /** The rows of the batch; those that are over stay until it is worth moving the others. */
  #rows: Row[] = []
  #batch: { lane: string; batch: Batch } | undefined
  /** Rows whose prompts are read now, beside the steps of the others. */
  #joining: { rows: Row[]; reading?: Reading } | undefined
  #wake: (() => void) | undefined
  #isClosing = false
  readonly #running: Promise<void>

  constructor(options: SchedulerOptions) {
    this.#options = options
    this.#running = this.#run()
  }

  /**
   * Opens the batch of a lane before anything is asked for, so that the first answer need not wait for it.
   *
   * @throws when it cannot be opened
   */
  async warm(lane: string): Promise<void> {
    this.#batch = { lane, batch: await this.#options.open(lane) }
  }

  get load(): Load {
    const { maxBatch, maxQueue } = this.#options
    return { active: this.#active(), queued: this.#waiting.length, maxBatch, maxQueue }
  }

  /**
   * Queues rows, all or none.
   *
   * @param signal frees their places; the iteration then ends
   * @throws ApiError 400 for more rows than ever have place, 429 when there is no place now, 503 when closing
   */
  submit(requests: readonly RowRequest[], signal?: AbortSignal): Channel<RowEvent> {
    const { maxBatch, maxQueue } = this.#options
    const places = maxBatch + maxQueue
    if (this.#isClosing) throw new ApiError(503, 'The server is shutting down.', { code: 'shutting_down' })
    if (requests.length > places) {
      throw badRequest(`The request asks for ${requests.length} answers, and the server has ${places} places.`, 'n')
    }
    const { active, queued } = this.load
    if (active + queued + requests.length > places) {
      throw new ApiError(429, `The server is busy: ${active} answers are written and ${queued} wait. Try again.`, {
        code: 'queue_full',
        headers: { 'retry-after': RETRY_AFTER },
      })
    }
    const leave = () => {
      job.isOver = true
      job.channel.end()
      this.#waiting = this.#waiting.filter(isAlive)
    }
    const job: Job = { channel: new Channel(leave), left: requests.length, isOver: false }
    signal?.addEventListener('abort', leave, { once: true })
    const rows = requests.map((request, index) => ({ job, index, request, last: 0, hasEnded: false }))
    if (signal?.aborted) leave()
    else this.#waiting.push(...rows)
    this.#wake?.()
    return job.channel
  }

  /**
   * Takes no more rows, and ends those that there are.
   *
   * @param grace how long they may take to end by themselves, in milliseconds
   */
  async close(grace = 0): Promise<void> {
    this.#isClosing = true
    this.#wake?.()
    const timer = setTimeout(() => {
      const rows = [...this.#rows, ...(this.#joining?.rows ?? []), ...this.#waiting]
      const error = new ApiError(503, 'The server is shutting down.', { code: 'shutting_down' })
      for (const { job } of rows) fail(job, error)
      this.#waiting = []
      this.#wake?.()
    }, grace)
    await this.#running
    clearTimeout(timer)
  }

  async #run(): Promise<void> {
    while (true) {
      if (this.#rows.some(isAlive) || this.#joining || this.#waiting.length) {
        try {
          await this.#turn()
        } catch (error) {
          await this.#abandon(error)
        }
        continue
      }
      if (this.#isClosing) break
      await this.#rest()
    }
    await this.#leaveLane()
  }

  /** Waits until something is asked for. */
  async #rest(): Promise<void> {
    const woken = new Promise<void>(resolve => (this.#wake = resolve))
    await this.#drop()
    // It may have been asked for meanwhile.
    if (this.#waiting.length === 0 && !this.#isClosing) await woken
    this.#wake = undefined
  }

  /** One step of the batch. */
  async #turn(): Promise<void> {
    await this.#admit()
    const alive = this.#rows.filter(isAlive).length
    if (alive === 0) return
    // Moving rows costs about as much as a step.
    if (alive <= this.#rows.length / 2) await this.#drop()
    const rows = this.#rows
    this.#choose(rows, await this.#batch!.batch.step(rows.map(row => row.last)))
  }

  /** Reads a piece of the prompts that join, and lets them join when all of it was read. */
  async #admit(): Promise<void> {
    if (!this.#joining) await this.#begin()
    if (!this.#joining?.reading) return
    const { rows, reading } = this.#joining
    if (!rows.some(isAlive)) {
      this.#joining = undefined
      await reading.drop()
      return
    }
    try {
      if (!(await reading.next())) return
    } catch (error) {
      // The rows of the batch know nothing of it.
      for (const { job } of rows) fail(job, error)
      return
    }
    const kept = this.#alive()
    const logits = await reading.join(kept)
    this.#joining = undefined
    this.#rows = [...kept.map(i => this.#rows[i]), ...rows]
    this.#choose(rows, logits)
  }

  /** Begins to read the prompts of rows that wait, in their order, as far as there are places. */
  async #begin(): Promise<void> {
    const lane = this.#waiting.length ? this.#laneOf(this.#waiting[0]) : undefined
    if (lane === undefined) return
    if (this.#batch?.lane !== lane) {
      // Whoever came first is not overtaken: the other lane's batch ends, and this one's begins.
      if (this.#rows.some(isAlive)) return
      await this.#leaveLane()
      this.#batch = { lane, batch: await this.#options.open(lane) }
    }
    const rows = this.#waiting.splice(0, this.#admissible(lane))
    if (rows.length === 0) return
    // From now on they count among those that are computed, whoever asks meanwhile.
    const joining: { rows: Row[]; reading?: Reading } = { rows }
    this.#joining = joining
    for (const row of rows) {
      try {
        row.chooser = this.#options.choose(row.request)
      } catch (error) {
        fail(row.job, error)
      }
    }
    joining.reading = await this.#batch.batch.read(rows.map(row => row.request))
  }

  /** How many of the rows that wait can join now. */
  #admissible(lane: string): number {
    const { maxBatch, maxPrefill } = this.#options
    const places = maxBatch - this.#active()
    let [count, longest] = [0, 0]
    for (const row of this.#waiting.slice(0, places)) {
      longest = Math.max(longest, row.request.prompt.length)
      const fits = count === 0 || longest * (count + 1) <= maxPrefill
      if (!fits || this.#laneOf(row) !== lane) break
      count++
    }
    return count
  }

  #choose(rows: readonly Row[], logits: readonly Float32Array[]): void {
    for (const [i, row] of rows.entries()) {
      if (!isAlive(row)) continue
      const { job, index } = row
      try {
        const chosen = row.chooser!.next(logits[i])
        row.last = chosen.token
        job.channel.push({ row: index, ...chosen })
        if (!chosen.finished) continue
        row.hasEnded = true
        if (--job.left === 0) end(job)
      } catch (error) {
        fail(job, error)
      }
    }
  }

  /** Takes rows that are over out of the batch. */
  async #drop(): Promise<void> {
    const kept = this.#alive()
    if (kept.length === this.#rows.length) return
    this.#rows = kept.map(i => this.#rows[i])
    await this.#batch?.batch.select(kept)
  }

  /** How many rows are computed, or read. */
  #active(): number {
    return [...this.#rows, ...(this.#joining?.rows ?? [])].filter(isAlive).length
  }

  /** The numbers of the rows that go on. */
  #alive(): number[] {
    return this.#rows.flatMap((row, i) => (isAlive(row) ? [i] : []))
  }

  async #leaveLane(): Promise<void> {
    const [batch, reading] = [this.#batch?.batch, this.#joining?.reading]
    this.#batch = this.#joining = undefined
    this.#rows = []
    try {
      await reading?.drop()
    } finally {
      await batch?.close()
    }
  }

  /** Ends what is in the batch with an error, so that others can go on. */
  async #abandon(error: unknown): Promise<void> {
    const head = this.#batch ? undefined : this.#waiting.shift()
    for (const { job } of head ? [head] : [...this.#rows, ...(this.#joining?.rows ?? [])]) fail(job, error)
    this.#waiting = this.#waiting.filter(isAlive)
    // What fails already must not hide why.
    await this.#leaveLane().catch(() => undefined)
  }

  #laneOf({ request }: Row): string {
    return this.#options.laneOf(request.model)
  }
}

const isAlive = ({ job, hasEnded }: Row): boolean => !job.isOver && !hasEnded

function end(job: Job): void {
  job.isOver = true
  job.channel.end()
}

function fail(job: Job, error: unknown): void {
  job.isOver = true
  job.channel.fail(error)
}
