/** @file Parsing and validation of a safetensors header; every number in it is taken as hostile. */
import { bytesPerElement, type Dtype, explainUnknownDtype, isDtype } from './dtype.ts'
import { SafetensorsError } from './error.ts'
import { isWellFormed, JsonError, type JsonValue, parseStrictJson } from './json.ts'

/** The bytes before the header: its length, as a little-endian 64-bit integer. */
export const PREFIX_BYTES = 8
/** The longest header that is read, as in the reference implementation. */
export const MAX_HEADER_BYTES = 100_000_000
/** The header key that holds the file's own texts instead of a tensor. */
export const METADATA_KEY = '__metadata__'

/** Where a tensor lies in a file. */
export interface TensorLocation {
  readonly name: string
  readonly dtype: Dtype
  /** The sizes of the dimensions, row-major; `[]` is a scalar. */
  readonly shape: readonly number[]
  /** Position of the first byte, counted from the start of the file. */
  readonly offset: number
  /** Length in bytes. */
  readonly byteLength: number
}

/** A file's own texts, such as `{ format: 'pt' }`. */
export type Metadata = Readonly<Record<string, string>>

/** A validated header. */
export interface SafetensorsHeader {
  /** The tensors by name, in the order in which they lie in the file. */
  readonly tensors: ReadonlyMap<string, TensorLocation>
  /** The texts under `__metadata__`; `undefined` where the header has none. */
  readonly metadata: Metadata | undefined
}

/**
 * The length of the header in bytes, read from the first 8 bytes of the file.
 *
 * @param prefix the first 8 bytes, or all there are
 * @param fileSize the size of the whole file in bytes
 * @param file what to call the file in errors
 */
export function parseHeaderLength(prefix: Uint8Array, fileSize: number, file: string): number {
  if (prefix.byteLength < PREFIX_BYTES || fileSize < PREFIX_BYTES) {
    const size = Math.min(prefix.byteLength, fileSize)
    throw new SafetensorsError(file, `got ${size} bytes, expected at least 8: the file is empty or cut off.`)
  }
  const length = new DataView(prefix.buffer, prefix.byteOffset, PREFIX_BYTES).getBigUint64(0, true)
  if (length > BigInt(MAX_HEADER_BYTES)) {
    throw new SafetensorsError(
      file,
      `the header claims ${length} bytes, expected at most ${MAX_HEADER_BYTES}: this is no safetensors file, or it is damaged.`,
    )
  }
  const available = fileSize - PREFIX_BYTES
  if (length > BigInt(available)) {
    throw new SafetensorsError(
      file,
      `the header claims ${length} bytes, but only ${available} follow: the file is cut off; download or copy it again.`,
    )
  }
  return Number(length)
}

/**
 * Parses and validates a header. Every tensor has a known dtype, a shape whose size equals its bytes, and a place of
 * its own; together the tensors cover the file to its end without overlap or gap.
 *
 * @param header the header's bytes, without the 8 bytes of length before it
 * @param fileSize the size of the whole file in bytes
 * @param file what to call the file in errors
 * @throws SafetensorsError with the file, the tensor, what was got and what was expected
 */
export function parseHeader(header: Uint8Array, fileSize: number, file: string): SafetensorsHeader {
  const entries = parseEntries(header, file)
  const dataOffset = PREFIX_BYTES + header.byteLength
  let metadata: Metadata | undefined
  const tensors: TensorLocation[] = []
  for (const [name, value] of entries) {
    if (name === METADATA_KEY) metadata = parseMetadata(value, file)
    else tensors.push(parseTensor(name, value, dataOffset, fileSize, file))
  }
  tensors.sort((a, b) => a.offset - b.offset || a.byteLength - b.byteLength)
  checkCoverage(tensors, dataOffset, fileSize, file)
  return { tensors: new Map(tensors.map(tensor => [tensor.name, tensor])), metadata }
}

function parseEntries(header: Uint8Array, file: string): Map<string, JsonValue> {
  if (header[0] !== 0x7b) {
    const got = header.byteLength === 0 ? 'nothing' : `byte 0x${header[0].toString(16).padStart(2, '0')}`
    throw new SafetensorsError(file, `the header starts with ${got}, expected "{": this is no safetensors file.`)
  }
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(header)
  } catch (cause) {
    throw new SafetensorsError(file, 'the header is not UTF-8: the file is damaged.', { cause })
  }
  try {
    // The first byte is "{", so the value is an object or the parser has thrown.
    return parseStrictJson(text) as Map<string, JsonValue>
  } catch (cause) {
    if (!(cause instanceof JsonError)) throw cause
    throw new SafetensorsError(file, `the header is not valid JSON: ${cause.message}.`, {
      tensor: cause.path[0],
      cause,
    })
  }
}

function parseMetadata(value: JsonValue, file: string): Metadata {
  if (!(value instanceof Map)) {
    throw new SafetensorsError(file, `${METADATA_KEY} is ${show(value)}, expected an object of strings.`)
  }
  const result: Record<string, string> = Object.create(null)
  for (const [key, text] of value) {
    if (typeof text !== 'string') {
      throw new SafetensorsError(
        file,
        `${METADATA_KEY} holds ${show(text)} under ${JSON.stringify(key)}, expected a string.`,
      )
    }
    const problem = explainBadName(key)
    if (problem)
      throw new SafetensorsError(file, `${METADATA_KEY} has the key ${JSON.stringify(key)}, which ${problem}.`)
    result[key] = text
  }
  return result
}

function parseTensor(
  name: string,
  value: JsonValue,
  dataOffset: number,
  fileSize: number,
  file: string,
): TensorLocation {
  const fail = (problem: string): never => {
    throw new SafetensorsError(file, problem, { tensor: name })
  }
  const badName = explainBadName(name)
  if (badName) fail(`the name ${badName}.`)
  if (!(value instanceof Map)) {
    return fail(`the header holds ${show(value)}, expected an object with dtype, shape and data_offsets.`)
  }
  const dtype = value.get('dtype')
  if (!isDtype(dtype)) return fail(`${explainUnknownDtype(dtype instanceof Map ? show(dtype) : dtype)}.`)

  const shape = value.get('shape')
  if (!Array.isArray(shape) || !shape.every(isSize)) {
    return fail(`shape is ${show(shape)}, expected an array of integers from 0 to 2^53.`)
  }
  const offsets = value.get('data_offsets')
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize)) {
    return fail(`data_offsets is ${show(offsets)}, expected two integers from 0 to 2^53.`)
  }
  const [begin, end] = offsets.map(Number)
  if (end < begin) fail(`data_offsets is [${begin}, ${end}], expected the end not to lie before the begin.`)
  const available = fileSize - dataOffset
  if (end > available) {
    fail(
      `data_offsets end at ${end}, but the file holds only ${available} bytes of data: it is cut off; download or copy it again.`,
    )
  }
  const expected = byteLengthOf(dtype, shape)
  if (expected === undefined) fail(`shape ${show(shape)} of ${dtype} has more bytes than 64 bits can count.`)
  if (expected !== BigInt(end - begin)) {
    fail(`got ${end - begin} bytes, expected ${expected} for ${dtype} of shape ${show(shape)}.`)
  }
  return { name, dtype, shape: shape.map(Number), offset: dataOffset + begin, byteLength: end - begin }
}

function checkCoverage(tensors: readonly TensorLocation[], dataOffset: number, fileSize: number, file: string): void {
  let covered = dataOffset
  let previous = ''
  for (const { name, offset, byteLength } of tensors) {
    if (offset !== covered) {
      const [got, expected] = [offset - dataOffset, covered - dataOffset]
      const problem =
        offset < covered
          ? `overlaps tensor "${previous}": its data begin at ${got}, expected ${expected}.`
          : `leaves a gap of ${got - expected} bytes before it: its data begin at ${got}, expected ${expected}.`
      throw new SafetensorsError(file, problem, { tensor: name })
    }
    covered = offset + byteLength
    previous = name
  }
  if (covered !== fileSize) {
    throw new SafetensorsError(
      file,
      `the tensors end at byte ${covered}, but the file has ${fileSize} bytes: ${fileSize - covered} bytes belong to no tensor.`,
    )
  }
}

function isSize(value: JsonValue): value is bigint {
  return typeof value === 'bigint' && value >= 0n && value <= BigInt(Number.MAX_SAFE_INTEGER)
}

/** Why `name` may not name a tensor or a metadata entry, or `undefined` where it may. */
export function explainBadName(name: string): string | undefined {
  if (!isWellFormed(name)) return 'holds an unpaired surrogate, which UTF-8 cannot write'
  // Names are split at dots into paths of a module tree, where these two would reach every object of the program.
  const reserved = name.split('.').find(part => part === '__proto__' || part === 'constructor')
  return reserved && `holds "${reserved}", which is reserved in JavaScript; rename it in Python`
}

/** The bytes that `shape` takes, or `undefined` past 64 bits: a long hostile shape must not grow a huge product. */
function byteLengthOf(dtype: Dtype, shape: readonly bigint[]): bigint | undefined {
  let bytes = BigInt(bytesPerElement(dtype))
  for (const size of shape) {
    bytes *= size
    if (bytes >= 2n ** 64n) return undefined
  }
  return bytes
}

function show(value: JsonValue | undefined): string {
  if (value === undefined) return 'missing'
  if (value instanceof Map) return 'an object'
  if (Array.isArray(value))
    return shorten(`[${value.slice(0, 16).map(show).join(', ')}${value.length > 16 ? ', …' : ''}]`)
  return shorten(typeof value === 'bigint' || typeof value === 'number' ? String(value) : JSON.stringify(value))
}

function shorten(text: string): string {
  return text.length > 120 ? `${text.slice(0, 119)}…` : text
}
