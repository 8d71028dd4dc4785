/** @file One safetensors file on disk, opened by its header and read tensor by tensor. Node only. */
import { type FileHandle, open, realpath } from 'node:fs/promises'
import { basename, dirname, extname } from 'node:path'
import { didYouMean } from '../util/nearest.ts'
import { toFloat32 } from './cast.ts'
import { SafetensorsError } from './error.ts'
import { describeFolder, explainPickle, isPickle } from './folder.ts'
import { type Metadata, PREFIX_BYTES, parseHeader, parseHeaderLength, type SafetensorsHeader } from './header.ts'
import { readRange } from './ranges.ts'
import type { ByteRange, TensorInfo, TensorReader } from './reader.ts'
import type { FileSource } from './source.ts'

/**
 * A safetensors file. Opening it reads the header only; each tensor is read when asked for.
 *
 * @example
 * await using file = await SafetensorsFile.open('model.safetensors')
 * const weight = await file.readFloat32('lm_head.weight')
 */
export class SafetensorsFile implements TensorReader {
  readonly names: readonly string[]
  readonly metadata: Metadata | undefined
  readonly paths: readonly string[]
  readonly #path: string
  readonly #realPath: string
  readonly #tensors: SafetensorsHeader['tensors']
  #handle: FileHandle | undefined

  private constructor(path: string, realPath: string, header: SafetensorsHeader, handle: FileHandle) {
    this.names = [...header.tensors.keys()]
    this.metadata = header.metadata
    this.paths = [realPath]
    this.#path = path
    this.#realPath = realPath
    this.#tensors = header.tensors
    this.#handle = handle
  }

  /**
   * Opens `path` and validates its header.
   *
   * @throws SafetensorsError where the file is missing (with what is in its folder), damaged, or a pickle
   */
  static async open(path: string): Promise<SafetensorsFile> {
    if (isPickle(path)) {
      const target = `${basename(path, extname(path))}.safetensors`
      throw new SafetensorsError(path, explainPickle(path, target))
    }
    const handle = await open(path, 'r').catch(async (cause: NodeJS.ErrnoException) => {
      if (cause.code !== 'ENOENT' && cause.code !== 'ENOTDIR') {
        throw new SafetensorsError(path, `cannot be opened: ${cause.message}.`, { cause })
      }
      throw new SafetensorsError(path, `no such file. ${await describeFolder(dirname(path), basename(path))}`, {
        cause,
      })
    })
    try {
      const stat = await handle.stat()
      if (!stat.isFile()) throw new SafetensorsError(path, 'is not a file, expected a .safetensors file.')
      const header = await readHeader(handle, path, stat.size)
      return new SafetensorsFile(path, await realpath(path), header, handle)
    } catch (error) {
      await handle.close()
      throw error
    }
  }

  has(name: string): boolean {
    return this.#tensors.has(name)
  }

  info(name: string): TensorInfo {
    const location = this.#tensors.get(name)
    if (!location) {
      throw new SafetensorsError(
        this.#path,
        `no such tensor, expected one of the ${this.names.length} in the file.${didYouMean(name, this.names)}`,
        { tensor: name },
      )
    }
    return { ...location, path: this.#realPath }
  }

  source(name: string): FileSource {
    return sourceOf(this.info(name))
  }

  async read(name: string, range?: ByteRange): Promise<Uint8Array> {
    const { offset, byteLength } = this.info(name)
    const { begin, end } = range ?? { begin: 0, end: byteLength }
    if (!(Number.isInteger(begin) && Number.isInteger(end) && 0 <= begin && begin <= end && end <= byteLength)) {
      throw new SafetensorsError(
        this.#path,
        `got the range [${begin}, ${end}), expected one within its ${byteLength} bytes.`,
        {
          tensor: name,
        },
      )
    }
    if (!this.#handle) {
      throw new SafetensorsError(this.#path, 'cannot be read, because the file was closed.', { tensor: name })
    }
    return readRange(this.#handle, this.#path, offset + begin, end - begin)
  }

  async readFloat32(name: string): Promise<Float32Array> {
    return toFloat32(this.info(name).dtype, await this.read(name))
  }

  async close(): Promise<void> {
    const handle = this.#handle
    this.#handle = undefined
    await handle?.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

/** The source of the tensor at `info`. */
export function sourceOf({ dtype, shape, path, offset, byteLength }: TensorInfo): FileSource {
  return { kind: 'file', dtype, shape, path, offset, byteLength }
}

async function readHeader(handle: FileHandle, path: string, size: number): Promise<SafetensorsHeader> {
  const prefix = await readRange(handle, path, 0, Math.min(size, PREFIX_BYTES))
  const start = new TextDecoder('latin1').decode(prefix)
  if (start.startsWith('version ')) {
    throw new SafetensorsError(path, 'is a pointer of Git LFS, not the file itself; fetch it with: git lfs pull')
  }
  if (start.startsWith('PK\x03\x04')) {
    throw new SafetensorsError(path, explainPickle(path, `converted-${basename(path)}`))
  }
  const length = parseHeaderLength(prefix, size, path)
  return parseHeader(await readRange(handle, path, PREFIX_BYTES, length), size, path)
}
