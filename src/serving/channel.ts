/** @file A queue between one who pushes and one who iterates. */

/** Values that are pushed, as an async iterator. Nothing is dropped; leaving the loop calls `onLeave`. */
export class Channel<T> implements AsyncIterableIterator<T> {
  readonly #values: T[] = []
  readonly #onLeave: () => void
  #waiting: PromiseWithResolversOf<IteratorResult<T, undefined>> | undefined
  #end: { error?: unknown } | undefined

  constructor(onLeave: () => void = () => {}) {
    this.#onLeave = onLeave
  }

  push(value: T): void {
    if (this.#end) return
    const waiting = this.#waiting
    this.#waiting = undefined
    if (waiting) waiting.resolve({ done: false, value })
    else this.#values.push(value)
  }

  /** Ends the iteration behind what was pushed. */
  end(): void {
    if (this.#end) return
    this.#end = {}
    this.#waiting?.resolve({ done: true, value: undefined })
  }

  /** Ends the iteration with an error, behind what was pushed. */
  fail(error: unknown): void {
    if (this.#end) return
    this.#end = { error }
    this.#waiting?.reject(error)
  }

  async next(): Promise<IteratorResult<T, undefined>> {
    if (this.#values.length) return { done: false, value: this.#values.shift()! }
    if (this.#end) {
      const { error } = this.#end
      this.#end = {}
      if (error !== undefined) throw error
      return { done: true, value: undefined }
    }
    this.#waiting = promiseWithResolvers()
    return this.#waiting.promise
  }

  async return(): Promise<IteratorResult<T, undefined>> {
    this.end()
    this.#values.length = 0
    this.#onLeave()
    return { done: true, value: undefined }
  }

  [Symbol.asyncIterator](): this {
    return this
  }
}

interface PromiseWithResolversOf<T> {
  promise: Promise<T>
  resolve(value: T): void
  reject(error: unknown): void
}

function promiseWithResolvers<T>(): PromiseWithResolversOf<T> {
  const result = {} as PromiseWithResolversOf<T>
  result.promise = new Promise((resolve, reject) => Object.assign(result, { resolve, reject }))
  return result
}
