/** @file Tensor sources: where the bytes of a tensor come from, without reading them yet. */
import { toFloat32 } from './cast.ts'
import type { Dtype } from './dtype.ts'

/** A tensor in a file, at a place where an engine can map it into memory. */
export interface FileSource {
  readonly kind: 'file'
  readonly dtype: Dtype
  readonly shape: readonly number[]
  /** Absolute path, links resolved. */
  readonly path: string
  /** Position of the first byte, counted from the start of the file. */
  readonly offset: number
  /** Length in bytes. */
  readonly byteLength: number
}

/** A tensor in memory. */
export interface MemorySource {
  readonly kind: 'memory'
  readonly dtype: Dtype
  readonly shape: readonly number[]
  readonly bytes: Uint8Array
}

/** A tensor that can be read when it is needed. */
export type TensorSource = FileSource | MemorySource

/** The bytes of a tensor. Those of a memory source are its own, not a copy; files can be read in Node only. */
export async function readSource(source: TensorSource): Promise<Uint8Array> {
  if (source.kind === 'memory') return source.bytes
  // Loaded on demand, so that a browser can import this module.
  const { readFileRange } = await import('./ranges.ts')
  return readFileRange(source.path, source.offset, source.byteLength)
}

/** The elements of a tensor as float32, converted as {@link toFloat32} does. */
export async function readSourceFloat32(source: TensorSource): Promise<Float32Array> {
  return toFloat32(source.dtype, await readSource(source))
}
