/** @file What is kept of each example in a file that nobody else sees. Node only. */
import { randomBytes } from 'node:crypto'
import { readSync } from 'node:fs'
import { type FileHandle, mkdir, open, rm, statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import type { ActivationStore } from './store.ts'

/** Where an example's values begin in the file, and how many each tensor has. */
interface Entry {
  offset: number
  sizes: number[]
}

/**
 * Keeps values as float32 one after the other in a file. Where the system allows it the file has no name from the
 * beginning, so that nothing of it is left however the process ends.
 */
export class FileStore implements ActivationStore {
  readonly #handle: FileHandle
  readonly #path: string
  readonly #entries = new Map<number, Entry>()
  #end = 0

  private constructor(handle: FileHandle, path: string) {
    this.#handle = handle
    this.#path = path
  }

  /** @param folder by default the system's folder for temporary files */
  static async create(folder = tmpdir()): Promise<FileStore> {
    await mkdir(folder, { recursive: true })
    // A name that the output folder knows for something that a killed process may leave.
    const path = join(folder, `.activations.${randomBytes(6).toString('hex')}.tmp`)
    const handle = await open(path, 'wx+')
    // Windows keeps the name until the file is closed, or refuses: then it goes at the end.
    await rm(path, { force: true }).catch(() => undefined)
    return new FileStore(handle, path)
  }

  /** The bytes that are free where a folder is, or will be; undefined where the system does not tell. */
  static async freeSpace(folder = tmpdir()): Promise<number | undefined> {
    for (let at = resolve(folder); ; at = dirname(at)) {
      const found = await statfs(at).catch(() => undefined)
      if (found) return found.bavail * found.bsize
      if (at === dirname(at)) return undefined
    }
  }

  async write(example: number, values: readonly Float32Array[]): Promise<void> {
    const offset = this.#end
    for (const { buffer, byteOffset, byteLength } of values) {
      const bytes = new Uint8Array(buffer, byteOffset, byteLength)
      for (let done = 0; done < byteLength; ) {
        const { bytesWritten } = await this.#handle.write(bytes, done, byteLength - done, this.#end)
        done += bytesWritten
        this.#end += bytesWritten
      }
    }
    this.#entries.set(example, { offset, sizes: values.map(({ length }) => length) })
  }

  read(example: number): Float32Array[] {
    const { offset, sizes } = this.#entries.get(example)!
    let at = offset
    return sizes.map(size => {
      const bytes = new Uint8Array(4 * size)
      for (let done = 0; done < bytes.length; ) {
        const read = readSync(this.#handle.fd, bytes, done, bytes.length - done, at)
        if (read === 0) throw new Error('The file of kept activations ends early: something has cut it off.')
        done += read
        at += read
      }
      return new Float32Array(bytes.buffer)
    })
  }

  async dispose(): Promise<void> {
    await this.#handle.close()
    await rm(this.#path, { force: true })
  }
}
