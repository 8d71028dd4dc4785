/** @file Reading a whole safetensors file that is already in memory, as in a browser. */
import { type Metadata, PREFIX_BYTES, parseHeader, parseHeaderLength } from './header.ts'
import type { MemorySource } from './source.ts'

/** The content of a safetensors file in memory. */
export interface ParsedSafetensors {
  /** The tensors by name, in the order of the file; their bytes share memory with the file's. */
  readonly tensors: ReadonlyMap<string, MemorySource>
  /** The file's own texts; `undefined` where it has none. */
  readonly metadata: Metadata | undefined
}

/**
 * Parses a whole safetensors file.
 *
 * @param bytes the file's content
 * @param file what to call it in errors
 * @throws SafetensorsError where the file is damaged
 * @example
 * const response = await fetch('adapter_model.safetensors')
 * const { tensors } = parseSafetensors(new Uint8Array(await response.arrayBuffer()))
 */
export function parseSafetensors(bytes: Uint8Array, file = 'safetensors buffer'): ParsedSafetensors {
  const size = bytes.byteLength
  const headerLength = parseHeaderLength(bytes.subarray(0, PREFIX_BYTES), size, file)
  const header = parseHeader(bytes.subarray(PREFIX_BYTES, PREFIX_BYTES + headerLength), size, file)
  const tensors = new Map<string, MemorySource>()
  for (const { name, dtype, shape, offset, byteLength } of header.tensors.values()) {
    tensors.set(name, { kind: 'memory', dtype, shape, bytes: bytes.subarray(offset, offset + byteLength) })
  }
  return { tensors, metadata: header.metadata }
}
