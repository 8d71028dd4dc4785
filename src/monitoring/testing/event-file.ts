/** @file TensorBoard's event files as its documentation describes them, read without the code that writes them. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

/** One value of an event. */
export interface ReadValue {
  step: number
  tag: string
  scalar?: number
  text?: string
  plugin?: string
}

/** CRC-32C bit by bit. */
function checksum(bytes: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (0x82f63b78 & -(crc & 1))
  }
  const sum = ~crc >>> 0
  return (((sum >>> 15) | (sum << 17)) + 0xa282ead8) >>> 0
}

type Fields = Map<number, { number: number; bytes: Buffer }[]>

function fieldsOf(bytes: Buffer): Fields {
  const fields: Fields = new Map()
  let at = 0
  const varint = () => {
    let [value, scale] = [0, 1]
    for (;;) {
      const byte = bytes[at++]
      value += (byte & 127) * scale
      if (byte < 128) return value
      scale *= 128
    }
  }
  while (at < bytes.length) {
    const tag = varint()
    const wire = tag & 7
    const length = wire === 2 ? varint() : wire === 1 ? 8 : wire === 5 ? 4 : 0
    const number = wire === 0 ? varint() : 0
    const payload = bytes.subarray(at, at + length)
    at += length
    fields.set(tag >>> 3, [...(fields.get(tag >>> 3) ?? []), { number, bytes: payload }])
  }
  return fields
}

const first = (fields: Fields, field: number) => fields.get(field)?.[0]

/** What one event says. */
interface ReadEvent {
  step: number
  version?: string
  /** Whether its session log says START. */
  isStart: boolean
  values: ReadValue[]
}

/** The events of a file; up to the first incomplete one, or else that throws, as a wrong checksum does. */
async function eventsOf(path: string, { isWhole = true } = {}): Promise<ReadEvent[]> {
  const file = await readFile(path)
  const events: ReadEvent[] = []
  for (let at = 0; at < file.length; ) {
    if (!isWhole && (file.length < at + 12 || file.length < at + 16 + Number(file.readBigUInt64LE(at)))) break
    const length = Number(file.readBigUInt64LE(at))
    const data = file.subarray(at + 12, at + 12 + length)
    if (file.readUInt32LE(at + 8) !== checksum(file.subarray(at, at + 8))) throw new Error('wrong checksum of a length')
    if (file.readUInt32LE(at + 12 + length) !== checksum(data)) throw new Error('wrong checksum of a record')
    at += length + 16
    const event = fieldsOf(data)
    const step = first(event, 2)?.number ?? 0
    const [version, summary, session] = [first(event, 3), first(event, 5), first(event, 7)]
    const values: ReadValue[] = []
    const isStart = session !== undefined && first(fieldsOf(session.bytes), 1)?.number === 1
    events.push({ step, isStart, values, ...(version && { version: version.bytes.toString() }) })
    for (const { bytes } of summary ? (fieldsOf(summary.bytes).get(1) ?? []) : []) {
      const value = fieldsOf(bytes)
      const [scalar, tensor, metadata] = [first(value, 2), first(value, 8), first(value, 9)]
      values.push({
        step,
        tag: first(value, 1)!.bytes.toString(),
        ...(scalar && { scalar: scalar.bytes.readFloatLE() }),
        ...(tensor && { text: first(fieldsOf(tensor.bytes), 8)!.bytes.toString() }),
        ...(metadata && { plugin: first(fieldsOf(first(fieldsOf(metadata.bytes), 1)!.bytes), 1)!.bytes.toString() }),
      })
    }
  }
  return events
}

/** The values of a file. Throws where a checksum is wrong or the file ends within a record. */
export async function readEventFile(path: string): Promise<{ versions: string[]; values: ReadValue[] }> {
  const events = await eventsOf(path)
  return {
    versions: events.flatMap(({ version }) => (version === undefined ? [] : [version])),
    values: events.flatMap(({ values }) => values),
  }
}

/**
 * What TensorBoard shows of a folder: the files in the order of their names, each up to where it is complete. A session
 * that starts, other than the first one, takes back what was told of its step and later ones.
 */
export async function shownValues(folder: string): Promise<ReadValue[]> {
  let shown: ReadValue[] = []
  let sessions = 0
  for (const path of (await eventFiles(folder)).sort()) {
    for (const { step, isStart, values } of await eventsOf(path, { isWhole: false })) {
      if (isStart && sessions++ > 0) shown = shown.filter(value => value.step < step)
      shown.push(...values)
    }
  }
  return shown
}

/** The event files of a folder. */
export async function eventFiles(folder: string): Promise<string[]> {
  return (await readdir(folder)).filter(name => name.includes('tfevents')).map(name => join(folder, name))
}
