/** @file Saving safetensors files. Node only. */
import { writeFileAtomic } from '../util/files.ts'
import type { Metadata } from './header.ts'
import { safetensorsChunks, type TensorEntry } from './serialize.ts'

/**
 * Writes `entries` to `path`, one tensor at a time, byte for byte as Python's `save_file` would. A reader sees the old
 * file or the whole new one; where anything fails, nothing has changed on disk.
 *
 * @param metadata the file's own texts; PEFT and Transformers write `{ format: 'pt' }`
 */
export async function saveFile(path: string, entries: Iterable<TensorEntry>, metadata?: Metadata): Promise<void> {
  await writeFileAtomic(path, safetensorsChunks(entries, metadata))
}
