/** @file What every reader of stored tensors offers, be it one file or many shards. */
import type { Metadata, TensorLocation } from './header.ts'
import type { FileSource } from './source.ts'

/** A tensor's name, type and place on disk. */
export interface TensorInfo extends TensorLocation {
  /** Absolute path of the file, links resolved. */
  readonly path: string
}

/** Part of a tensor's bytes: from `begin` up to, not including, `end`. */
export interface ByteRange {
  readonly begin: number
  readonly end: number
}

/** Tensors on disk, read one by one. */
export interface TensorReader extends AsyncDisposable {
  /** The names of all tensors, in the order in which they are stored. */
  readonly names: readonly string[]
  /** The file's own texts (those of the first shard); `undefined` where there are none. */
  readonly metadata: Metadata | undefined
  /** The files behind it: absolute paths, links resolved. */
  readonly paths: readonly string[]
  /** Whether there is a tensor called `name`. */
  has(name: string): boolean
  /** Where a tensor lies; an unknown name is an error that tells the nearest ones. Works after `close` too. */
  info(name: string): TensorInfo
  /** A tensor as a source that can be read later, also after `close`. */
  source(name: string): FileSource
  /** A tensor's raw bytes, or a range of them, in a buffer of their own. */
  read(name: string, range?: ByteRange): Promise<Uint8Array>
  /** A tensor's elements as float32. */
  readFloat32(name: string): Promise<Float32Array>
  /** Closes the files; reading afterwards is an error, closing again is not. */
  close(): Promise<void>
}
