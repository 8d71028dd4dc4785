/** @file Many arrays of bytes: in memory while there is room, then in one temporary file. */

/** Gives back what was put into a {@link ByteStore}. */
export type StoredBytes = () => Uint8Array

/** What of Node's file functions is needed: reading has to be possible without waiting, between two batches. */
type Files = Pick<typeof import('node:fs'), 'openSync' | 'readSync' | 'writeSync' | 'unlinkSync' | 'closeSync'>

/** How many bytes stay in memory unless told. */
const MEMORY_LIMIT = 256 * 2 ** 20

/**
 * Keeps arrays of bytes, such as decoded images, of which a training needs a few at a time and all of them again and
 * again. What does not fit into the limit goes to a file that has no name any more, so that nothing is left of it
 * however the process ends. In a browser all of it stays in memory.
 */
export class ByteStore {
  readonly #limit: number
  readonly #files: Files | undefined
  readonly #path: string | undefined
  #file: number | undefined
  #inMemory = 0
  #inFile = 0

  private constructor(limit: number, files: Files | undefined, path: string | undefined) {
    this.#limit = limit
    this.#files = files
    this.#path = path
  }

  /** @param memoryLimit bytes that stay in memory (256 MiB) */
  static async create(memoryLimit: number = MEMORY_LIMIT): Promise<ByteStore> {
    if (typeof process === 'undefined' || !process.versions?.node)
      return new ByteStore(memoryLimit, undefined, undefined)
    const files = await import('node:fs')
    const { tmpdir } = await import('node:os')
    const { join } = await import('node:path')
    return new ByteStore(memoryLimit, files, join(tmpdir(), `peft-ts-${crypto.randomUUID()}`))
  }

  /** How many bytes lie in the file. */
  get fileBytes(): number {
    return this.#inFile
  }

  /** Keeps the bytes. They must not be changed afterwards, and neither must what comes back. */
  put(bytes: Uint8Array): StoredBytes {
    if (!this.#files || this.#inMemory + bytes.length <= this.#limit) {
      this.#inMemory += bytes.length
      return () => bytes
    }
    const files = this.#files
    const file = (this.#file ??= this.#open(files))
    const [position, length] = [this.#inFile, bytes.length]
    let written = 0
    try {
      while (written < length) written += files.writeSync(file, bytes, written, length - written, position + written)
    } catch (cause) {
      throw new Error(
        `Could not put ${length} bytes into a temporary file (${(cause as Error).message}). Free some space, set TMPDIR ` +
          'to a folder on a larger disk, or raise memoryLimit.',
        { cause },
      )
    }
    this.#inFile += length
    return () => {
      const result = new Uint8Array(length)
      let read = 0
      while (read < length) read += files.readSync(file, result, read, length - read, position + read)
      return result
    }
  }

  #open(files: Files): number {
    const file = files.openSync(this.#path!, 'wx+', 0o600)
    try {
      files.unlinkSync(this.#path!)
    } catch {
      // Windows refuses while the file is open; there it goes with the process.
      process.once('exit', () => {
        files.closeSync(file)
        files.unlinkSync(this.#path!)
      })
    }
    return file
  }
}
