/** @file TFRecord: a file of records, each with its length and two checksums. */
import { maskedCrc32c } from './crc32c.ts'

/** What stands around a record: length and its checksum before, the data's checksum behind. */
const [BEFORE, BEHIND] = [12, 4]

/** A record in its frame. */
export function frameRecord(data: Uint8Array): Uint8Array {
  const framed = new Uint8Array(BEFORE + data.length + BEHIND)
  const view = new DataView(framed.buffer)
  view.setBigUint64(0, BigInt(data.length), true)
  view.setUint32(8, maskedCrc32c(framed.subarray(0, 8)), true)
  framed.set(data, BEFORE)
  view.setUint32(BEFORE + data.length, maskedCrc32c(data), true)
  return framed
}

/** The records of a file up to the first that is incomplete or damaged, as a process that was killed leaves one. */
export function* readRecords(bytes: Uint8Array): Generator<Uint8Array> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let at = 0; at + BEFORE + BEHIND <= bytes.length; ) {
    if (view.getUint32(at + 8, true) !== maskedCrc32c(bytes.subarray(at, at + 8))) return
    const end = at + BEFORE + Number(view.getBigUint64(at, true))
    if (end + BEHIND > bytes.length) return
    const data = bytes.subarray(at + BEFORE, end)
    if (view.getUint32(end, true) !== maskedCrc32c(data)) return
    yield data
    at = end + BEHIND
  }
}
