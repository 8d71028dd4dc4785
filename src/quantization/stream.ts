/** @file Quantising a tensor of a checkpoint in pieces, so that it is never in memory as a whole. */
import { asBytes, bytesPerElement, type TensorReader, toFloat32 } from '../weights/index.ts'
import type { QuantizedEntry } from './file.ts'
import { type QuantizedLayout, sizesOf } from './layout.ts'
import { doubleQuantized, type PackOptions, packValues } from './pack.ts'
import { emptyTurned, rowScalesOf, transpose, turnRows } from './tensor.ts'

/** How a tensor is quantised. */
export interface Packing extends PackOptions {
  readonly layout: QuantizedLayout
  /** Whether the scales are held in 8 bits themselves, as bitsandbytes' double quantisation does. */
  readonly doubleQuant?: boolean
}

/** Values of a piece: what is made of it stays in the processor's cache. */
const PIECE = 2 ** 18

/**
 * A tensor of a checkpoint, quantised when it is written.
 *
 * @throws (when it is written) where it holds NaN or infinity, which have no quantised form
 */
export function quantizedEntry(checkpoint: TensorReader, name: string, packing: Packing): QuantizedEntry {
  return { name, layout: packing.layout, stream: () => quantizedPieces(checkpoint, name, packing) }
}

async function* quantizedPieces(
  checkpoint: TensorReader,
  name: string,
  { layout, perRow = false, doubleQuant = false }: Packing,
): AsyncGenerator<ArrayBufferView> {
  const scales: Float32Array[] = []
  const zeroPoints: Uint8Array[] = []
  const second = layout.turned ? emptyTurned(layout) : undefined
  let written = 0
  for await (const values of pieces(checkpoint, name, layout, perRow ? layout.columns : 2 * layout.blockSize)) {
    const parts = packValues(values, layout, { perRow })
    if (!parts.scales.every(Number.isFinite)) {
      const { path } = checkpoint.info(name)
      throw new Error(`${path}: tensor "${name}" holds NaN or infinity, which cannot be quantised; take another copy`)
    }
    scales.push(parts.scales)
    zeroPoints.push(parts.zeroPoints)
    if (second) turnRows(parts.packed, written / layout.columns, layout, second)
    written += parts.packed.byteLength
    yield parts.packed
  }
  const all = new Float32Array(scales.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of scales) {
    all.set(part, at)
    at += part.length
  }
  const final = doubleQuant ? doubleQuantized(all) : all
  yield final
  written += final.byteLength
  for (const part of zeroPoints) {
    yield part
    written += part.byteLength
  }
  if (second) {
    yield second.turned
    yield second.signed
    yield rowScalesOf(final, layout)
    written += 2 * second.signed.byteLength + 4 * layout.rows
  }
  yield new Uint8Array(sizesOf(layout).totalBytes - written)
}

/** The values in the order in which they are packed, in pieces of whole units. */
async function* pieces(
  checkpoint: TensorReader,
  name: string,
  { rows, columns, transposed }: QuantizedLayout,
  unit: number,
): AsyncGenerator<Float32Array> {
  const { dtype } = checkpoint.info(name)
  const length = Math.max(1, Math.floor(PIECE / unit)) * unit
  if (transposed) {
    const values = transpose(toFloat32(dtype, await checkpoint.read(name)), columns, rows)
    for (let begin = 0; begin < values.length; begin += length) yield values.subarray(begin, begin + length)
    return
  }
  const size = bytesPerElement(dtype)
  const end = rows * columns * size
  const read = (begin: number) =>
    checkpoint.read(name, { begin, end: Math.min(end, begin + length * size) }).then(asBytes)
  let next = read(0)
  for (let begin = 0; begin < end; begin += length * size) {
    const bytes = await next
    // The next piece is read while this one is packed.
    if (begin + length * size < end) {
      next = read(begin + length * size)
      // Where packing fails nobody waits for it.
      next.catch(() => undefined)
    }
    yield toFloat32(dtype, bytes)
  }
}
