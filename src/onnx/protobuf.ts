/** @file Protocol-buffer wire format: the writer and reader that the ONNX files need. */

const utf8 = new TextEncoder()
const fromUtf8 = new TextDecoder('utf-8', { fatal: true })

/** Writes fields one after another into a growing buffer. */
export class ProtoWriter {
  #bytes = new Uint8Array(256)
  #view = new DataView(this.#bytes.buffer)
  #length = 0

  #reserve(extra: number): void {
    if (this.#length + extra <= this.#bytes.length) return
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + extra))
    grown.set(this.#bytes.subarray(0, this.#length))
    this.#bytes = grown
    this.#view = new DataView(grown.buffer)
  }

  #varint(value: number | bigint): void {
    this.#reserve(10)
    if (typeof value === 'number' && value >= 0 && Number.isSafeInteger(value)) {
      let rest = value
      while (rest > 127) {
        this.#bytes[this.#length++] = (rest % 128) | 128
        rest = Math.floor(rest / 128)
      }
      this.#bytes[this.#length++] = rest
      return
    }
    let rest = BigInt.asUintN(64, BigInt(value))
    while (rest > 127n) {
      this.#bytes[this.#length++] = Number(rest & 127n) | 128
      rest >>= 7n
    }
    this.#bytes[this.#length++] = Number(rest)
  }

  /** An integer field (varint; negative values as 64-bit two's complement). */
  int(field: number, value: number | bigint): void {
    this.#varint(field * 8)
    this.#varint(value)
  }

  /** A 32-bit floating-point field. */
  float(field: number, value: number): void {
    this.#varint(field * 8 + 5)
    this.#reserve(4)
    this.#view.setFloat32(this.#length, value, true)
    this.#length += 4
  }

  /** A 64-bit floating-point field. */
  double(field: number, value: number): void {
    this.#varint(field * 8 + 1)
    this.#reserve(8)
    this.#view.setFloat64(this.#length, value, true)
    this.#length += 8
  }

  /** A length-delimited field of raw bytes. */
  bytes(field: number, value: Uint8Array): void {
    this.#varint(field * 8 + 2)
    this.#varint(value.length)
    this.#reserve(value.length)
    this.#bytes.set(value, this.#length)
    this.#length += value.length
  }

  /** A text field. */
  string(field: number, value: string): void {
    this.bytes(field, utf8.encode(value))
  }

  /** A nested message written by `write`. */
  message(field: number, write: (writer: ProtoWriter) => void): void {
    const inner = new ProtoWriter()
    write(inner)
    this.bytes(field, inner.finish())
  }

  /** A packed list of integers. */
  packedInts(field: number, values: readonly (number | bigint)[]): void {
    this.message(field, inner => {
      for (const value of values) inner.#varint(value)
    })
  }

  /** What has been written so far. */
  finish(): Uint8Array {
    return this.#bytes.subarray(0, this.#length)
  }
}

/** One field as it stands on the wire. */
export interface ProtoField {
  field: number
  /** 0 varint, 1 fixed64, 2 length-delimited, 5 fixed32. */
  wire: number
  /** The value of a varint. */
  varint: bigint
  /** The payload of every other wire type. */
  bytes: Uint8Array
}

/** Reads varints one after another. */
class VarintReader {
  readonly #bytes: Uint8Array
  position = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  get atEnd(): boolean {
    return this.position >= this.#bytes.length
  }

  next(): bigint {
    let value = 0n
    for (let shift = 0n; shift < 70n; shift += 7n) {
      if (this.atEnd) throw new Error('protobuf: the message ends inside a number')
      const byte = this.#bytes[this.position++]
      value |= BigInt(byte & 127) << shift
      if (byte < 128) return value
    }
    throw new Error('protobuf: a number is longer than ten bytes')
  }
}

/** Iterates over the fields of a message. Throws where the message is cut off or malformed. */
export function* readFields(bytes: Uint8Array): Generator<ProtoField> {
  const reader = new VarintReader(bytes)
  const varint = () => reader.next()
  const take = (length: number): Uint8Array => {
    const start = reader.position
    if (start + length > bytes.length) {
      throw new Error(`protobuf: a field of ${length} bytes ends past the message (${bytes.length - start} left)`)
    }
    reader.position += length
    return bytes.subarray(start, start + length)
  }
  const none = new Uint8Array(0)
  while (!reader.atEnd) {
    const tag = Number(varint())
    const [field, wire] = [Math.floor(tag / 8), tag % 8]
    if (wire === 0) yield { field, wire, varint: varint(), bytes: none }
    else if (wire === 1) yield { field, wire, varint: 0n, bytes: take(8) }
    else if (wire === 2) yield { field, wire, varint: 0n, bytes: take(Number(varint())) }
    else if (wire === 5) yield { field, wire, varint: 0n, bytes: take(4) }
    else throw new Error(`protobuf: unknown wire type ${wire} in field ${field}`)
  }
}

/** A field's text. Throws when it is not UTF-8. */
export function fieldText(field: ProtoField): string {
  return fromUtf8.decode(field.bytes)
}

/** A field's signed 64-bit integer as a number. Throws past 2^53. */
export function fieldInt(field: ProtoField): number {
  const value = Number(BigInt.asIntN(64, field.varint))
  if (!Number.isSafeInteger(value)) throw new Error(`protobuf: the integer ${field.varint} is too large`)
  return value
}

/** A field's integers, packed or single. */
export function fieldInts(field: ProtoField): bigint[] {
  if (field.wire === 0) return [BigInt.asIntN(64, field.varint)]
  const values: bigint[] = []
  const reader = new VarintReader(field.bytes)
  while (!reader.atEnd) values.push(BigInt.asIntN(64, reader.next()))
  return values
}

/** A field's 32-bit floats, packed or single. */
export function fieldFloats(field: ProtoField): number[] {
  if (field.bytes.byteLength % 4)
    throw new Error(`protobuf: ${field.bytes.byteLength} bytes are no list of 32-bit floats`)
  const view = new DataView(field.bytes.buffer, field.bytes.byteOffset, field.bytes.byteLength)
  return Array.from({ length: field.bytes.byteLength >> 2 }, (_, i) => view.getFloat32(i * 4, true))
}
