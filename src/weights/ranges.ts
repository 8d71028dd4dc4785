/** @file Reading byte ranges of files of any size. Node only. */
import { type FileHandle, open } from 'node:fs/promises'
import { SafetensorsError } from './error.ts'

// One read call takes less than 2 GiB on every platform.
const LARGEST_READ = 2 ** 30

/** The `byteLength` bytes from `offset` on, in a buffer of their own. `file` names the file in errors. */
export async function readRange(
  handle: FileHandle,
  file: string,
  offset: number,
  byteLength: number,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(byteLength)
  let done = 0
  while (done < byteLength) {
    const { bytesRead } = await handle.read(bytes, done, Math.min(byteLength - done, LARGEST_READ), offset + done)
    if (bytesRead === 0) {
      throw new SafetensorsError(
        file,
        `got ${done} bytes from position ${offset} on, expected ${byteLength}: the file became shorter after it was opened.`,
      )
    }
    done += bytesRead
  }
  return bytes
}

/** Opens `path`, reads one range and closes it again. */
export async function readFileRange(path: string, offset: number, byteLength: number): Promise<Uint8Array> {
  const handle = await open(path, 'r').catch((cause: Error) => {
    throw new SafetensorsError(path, `cannot be opened any more: ${cause.message}.`, { cause })
  })
  try {
    return await readRange(handle, path, offset, byteLength)
  } finally {
    await handle.close()
  }
}
