/** @file TensorFlow's `Event` message: scalars and texts of a step, and where a record begins anew. */
import { fieldInt, fieldText, ProtoWriter, readFields } from '../../onnx/protobuf.ts'

/** What an event says: the version of the file, that what was recorded from its step on is void, or values by tags. */
export type EventContent =
  | { fileVersion: string }
  | { session: 'start' }
  | { scalars: Readonly<Record<string, number>> }
  | { texts: Readonly<Record<string, string>> }

const DT_STRING = 7
const DATA_CLASS_TENSOR = 2

/** Numbers of the fields that are written, by message. */
const EVENT = { wallTime: 1, step: 2, fileVersion: 3, summary: 5, sessionLog: 7 }
const SESSION_LOG = { status: 1 }
const START = 1
const SUMMARY = { value: 1 }
const VALUE = { tag: 1, simpleValue: 2, tensor: 8, metadata: 9 }
const METADATA = { pluginData: 1, dataClass: 4 }
const PLUGIN_DATA = { name: 1 }
const TENSOR = { dtype: 1, shape: 2, strings: 8 }
const SHAPE = { dimension: 2 }
const DIMENSION = { size: 1 }

/** An `Event`; `seconds` since 1970. */
export function encodeEvent(seconds: number, step: number, content: EventContent): Uint8Array {
  const event = new ProtoWriter()
  event.double(EVENT.wallTime, seconds)
  event.int(EVENT.step, step)
  if ('fileVersion' in content) event.string(EVENT.fileVersion, content.fileVersion)
  else if ('session' in content) event.message(EVENT.sessionLog, session => session.int(SESSION_LOG.status, START))
  else event.message(EVENT.summary, summary => writeSummary(summary, content))
  return event.finish()
}

function writeSummary(
  summary: ProtoWriter,
  content: Extract<EventContent, { scalars: unknown } | { texts: unknown }>,
): void {
  if ('scalars' in content) {
    for (const [tag, scalar] of Object.entries(content.scalars)) {
      summary.message(SUMMARY.value, value => {
        value.string(VALUE.tag, tag)
        value.float(VALUE.simpleValue, scalar)
      })
    }
    return
  }
  for (const [tag, text] of Object.entries(content.texts)) {
    summary.message(SUMMARY.value, value => {
      value.string(VALUE.tag, tag)
      value.message(VALUE.tensor, tensor => {
        tensor.int(TENSOR.dtype, DT_STRING)
        tensor.message(TENSOR.shape, shape => shape.message(SHAPE.dimension, size => size.int(DIMENSION.size, 1)))
        tensor.string(TENSOR.strings, text)
      })
      value.message(VALUE.metadata, metadata => {
        metadata.message(METADATA.pluginData, plugin => plugin.string(PLUGIN_DATA.name, 'text'))
        metadata.int(METADATA.dataClass, DATA_CLASS_TENSOR)
      })
    })
  }
}

/** What an encoded event says, its values left out. */
export interface EventOutline {
  /** 0 where it has none. */
  step: number
  /** Whether what was recorded from its step on is void. */
  isStart: boolean
  /** The tags of its values. */
  tags: string[]
}

/** Reads what is needed to continue a record. */
export function outlineOf(bytes: Uint8Array): EventOutline {
  let step = 0
  let isStart = false
  const tags: string[] = []
  for (const field of readFields(bytes)) {
    if (field.field === EVENT.step) step = fieldInt(field)
    if (field.field === EVENT.sessionLog) {
      for (const part of readFields(field.bytes)) {
        if (part.field === SESSION_LOG.status) isStart = fieldInt(part) === START
      }
    }
    if (field.field !== EVENT.summary) continue
    for (const value of readFields(field.bytes)) {
      if (value.field !== SUMMARY.value) continue
      for (const part of readFields(value.bytes)) if (part.field === VALUE.tag) tags.push(fieldText(part))
    }
  }
  return { step, isStart, tags }
}
