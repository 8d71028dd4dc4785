/** @file Writing safetensors, byte for byte as the reference implementation (Rust, and Python through it) does. */
import { asBytes, bytesPerElement, DTYPES, type Dtype, elementCount, isDtype } from './dtype.ts'
import { SafetensorsError } from './error.ts'
import { explainBadName, MAX_HEADER_BYTES, METADATA_KEY, type Metadata, PREFIX_BYTES } from './header.ts'

/** What a tensor is called and how it is shaped. */
export interface TensorDescription {
  readonly name: string
  readonly dtype: Dtype
  readonly shape: readonly number[]
}

/** A tensor whose elements are in memory; a typed array is taken as its bytes. */
export interface MemoryEntry extends TensorDescription {
  readonly bytes: ArrayBufferView
}

/** A tensor whose bytes are made when its turn comes, whole. */
export interface DeferredEntry extends TensorDescription {
  readonly read: () => ArrayBufferView | Promise<ArrayBufferView>
}

/** A tensor whose bytes are made when its turn comes, piece by piece. */
export interface StreamedEntry extends TensorDescription {
  readonly stream: () => Iterable<ArrayBufferView> | AsyncIterable<ArrayBufferView>
}

/** A tensor to be written. */
export type TensorEntry = MemoryEntry | DeferredEntry | StreamedEntry

const LABEL = 'safetensors to be written'

/**
 * A whole safetensors file. Tensors are ordered as Python orders them (by dtype, widest first, then by name), so the
 * result does not depend on the order given, and equals what `safetensors.torch.save_file` writes.
 *
 * @param metadata the file's own texts; PEFT and Transformers write `{ format: 'pt' }`
 * @throws SafetensorsError where a name comes twice or may not be used, or bytes do not fit a shape
 */
export function serializeSafetensors(tensors: Iterable<MemoryEntry>, metadata?: Metadata): Uint8Array {
  const ordered = inFileOrder(tensors)
  const header = buildHeader(ordered, metadata)
  const size = ordered.reduce((sum, tensor) => sum + byteLengthOf(tensor), header.byteLength)
  const file = new Uint8Array(size)
  file.set(header)
  let offset = header.byteLength
  for (const tensor of ordered) {
    const bytes = asBytes(tensor.bytes)
    checkLength(tensor, bytes.byteLength)
    file.set(bytes, offset)
    offset += bytes.byteLength
  }
  return file
}

/**
 * The pieces of a safetensors file in order, holding one tensor (or one piece of a streamed tensor) at a time, so that
 * a file of any size can be written. The header is checked and comes first, before any tensor is read.
 */
export async function* safetensorsChunks(
  entries: Iterable<TensorEntry>,
  metadata?: Metadata,
): AsyncGenerator<Uint8Array, void, undefined> {
  const ordered = inFileOrder(entries)
  yield buildHeader(ordered, metadata)
  for (const entry of ordered) {
    let written = 0
    for await (const piece of piecesOf(entry)) {
      const bytes = asBytes(piece)
      written += bytes.byteLength
      // Checked before the piece leaves, so that nothing is written past the tensor's end.
      if (written > byteLengthOf(entry)) checkLength(entry, written)
      yield bytes
    }
    checkLength(entry, written)
  }
}

function piecesOf(
  entry: TensorEntry,
): Iterable<ArrayBufferView | Promise<ArrayBufferView>> | AsyncIterable<ArrayBufferView> {
  if ('bytes' in entry) return [entry.bytes]
  return 'read' in entry ? [entry.read()] : entry.stream()
}

function inFileOrder<T extends TensorDescription>(tensors: Iterable<T>): T[] {
  const ordered = [...tensors]
  for (const { name, dtype } of ordered) {
    if (!isDtype(dtype)) bytesPerElement(dtype)
    if (name === METADATA_KEY) throw new SafetensorsError(LABEL, `the name is taken by the format.`, { tensor: name })
    const problem = explainBadName(name)
    if (problem) throw new SafetensorsError(LABEL, `the name ${problem}.`, { tensor: name })
  }
  ordered.sort((a, b) => DTYPES.indexOf(b.dtype) - DTYPES.indexOf(a.dtype) || compareCodePoints(a.name, b.name))
  const names = new Set<string>()
  for (const { name } of ordered) {
    if (names.has(name)) throw new SafetensorsError(LABEL, 'given twice, expected every name once.', { tensor: name })
    names.add(name)
  }
  return ordered
}

/** The order of the strings' UTF-8 bytes, which differs from JavaScript's own beyond the Basic Multilingual Plane. */
function compareCodePoints(a: string, b: string): number {
  const shorter = Math.min(a.length, b.length)
  for (let i = 0; i < shorter; i++) {
    if (a.charCodeAt(i) !== b.charCodeAt(i)) return surrogatesLast(a.charCodeAt(i)) - surrogatesLast(b.charCodeAt(i))
  }
  return a.length - b.length
}

function surrogatesLast(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit
}

function buildHeader(ordered: readonly TensorDescription[], metadata: Metadata | undefined): Uint8Array {
  const parts = metadata ? [`"${METADATA_KEY}":${metadataJson(metadata)}`] : []
  let offset = 0
  for (const tensor of ordered) {
    const begin = offset
    offset += byteLengthOf(tensor)
    const { name, dtype, shape } = tensor
    parts.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [begin, offset] })}`)
  }
  const json = new TextEncoder().encode(`{${parts.join(',')}}`)
  const length = Math.ceil(json.byteLength / 8) * 8
  if (length > MAX_HEADER_BYTES) {
    throw new SafetensorsError(LABEL, `the header takes ${length} bytes, expected at most ${MAX_HEADER_BYTES}.`)
  }
  const header = new Uint8Array(PREFIX_BYTES + length).fill(0x20)
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true)
  header.set(json, PREFIX_BYTES)
  return header
}

function metadataJson(metadata: Metadata): string {
  for (const [key, value] of Object.entries(metadata)) {
    const problem = explainBadName(key)
    if (problem) throw new SafetensorsError(LABEL, `the metadata key ${JSON.stringify(key)} ${problem}.`)
    if (typeof value !== 'string') {
      throw new SafetensorsError(LABEL, `the metadata hold a ${typeof value} under "${key}", expected a string.`)
    }
  }
  return JSON.stringify(metadata)
}

function byteLengthOf(tensor: TensorDescription): number {
  const { name, dtype, shape } = tensor
  const bytes = elementCount(shape) * bytesPerElement(dtype)
  if (!shape.every(size => Number.isSafeInteger(size) && size >= 0) || !Number.isSafeInteger(bytes)) {
    throw new SafetensorsError(LABEL, `shape is [${shape.join(', ')}], expected whole numbers from 0 to 2^53.`, {
      tensor: name,
    })
  }
  return bytes
}

function checkLength(tensor: TensorDescription, got: number): void {
  const expected = byteLengthOf(tensor)
  if (got === expected) return
  const { name, dtype, shape } = tensor
  throw new SafetensorsError(
    LABEL,
    `got ${got} bytes, expected ${expected} for ${dtype} of shape [${shape.join(', ')}].`,
    {
      tensor: name,
    },
  )
}
