/** @file Atomic writes: a reader sees the old file or the whole new one, never a part. Node only. */
import { randomBytes } from 'node:crypto'
import { mkdir, open, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

/**
 * Makes a folder and those above it. Unlike `mkdir` with `recursive` it also ends where none can be made (`/proc`).
 *
 * @returns whether the folder was made; false where it was there
 */
export async function makeFolder(path: string): Promise<boolean> {
  if (await isFolder(path)) return false
  const parent = dirname(path)
  if (parent !== path) await makeFolder(parent)
  try {
    await mkdir(path)
    return true
  } catch (error) {
    // Somebody else was faster.
    if (await isFolder(path)) return false
    throw error
  }
}

const isFolder = (path: string) =>
  stat(path).then(
    found => found.isDirectory(),
    () => false,
  )

/**
 * Writes `chunks` to `path` through a temporary file beside it, which is flushed to disk and then renamed.
 * When anything fails (a full disk included) the temporary file is removed and `path` is as it was.
 */
export async function writeFileAtomic(
  path: string,
  chunks: string | Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): Promise<void> {
  const folder = dirname(path)
  await makeFolder(folder)
  const temporary = join(folder, `.${basename(path)}.${randomBytes(6).toString('hex')}.tmp`)
  try {
    const handle = await open(temporary, 'wx')
    try {
      if (typeof chunks === 'string' || chunks instanceof Uint8Array) await handle.writeFile(chunks)
      else for await (const chunk of chunks) await writeAll(handle, chunk)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(temporary, path)
    await syncFolder(folder)
  } catch (cause) {
    await rm(temporary, { force: true })
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new Error(`Could not write ${path}: ${reason}. Nothing was changed on disk.`, { cause })
  }
}

async function writeAll(handle: Awaited<ReturnType<typeof open>>, chunk: Uint8Array): Promise<void> {
  let done = 0
  while (done < chunk.byteLength) done += (await handle.write(chunk, done)).bytesWritten
}

/** Flushes a folder's entries, so that a rename survives a power cut; not every platform lets a folder be opened. */
export async function syncFolder(folder: string): Promise<void> {
  try {
    const handle = await open(folder, 'r')
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  } catch {
    // Windows cannot open folders; the rename itself has succeeded.
  }
}
