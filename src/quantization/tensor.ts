/** @file A quantised tensor: what its bytes mean, and where they lie. */
import { asTypedArray, type Dtype, readSource, type TensorSource } from '../weights/index.ts'
import { explainMisfit, isHalf, type QuantizedLayout, type QuantizedSizes, sizesOf } from './layout.ts'
import { emptyParts, type PackedParts } from './pack.ts'
import { unpackValues } from './unpack.ts'

/** One of the tensors that a quantised one is stored as; a graph takes it as a constant. */
export interface QuantizedPart {
  readonly name: string
  readonly dtype: 'uint8' | 'float32'
  readonly shape: readonly number[]
  readonly source: TensorSource
}

/** A matrix in packed form. Its bytes stay in their file until an engine maps them. */
export class QuantizedTensor {
  readonly layout: QuantizedLayout
  /** The shape of the values: `[out, in]`, or `[in, out]` where the layout is transposed. */
  readonly shape: readonly [number, number]
  /** uint8 `[rows, columns / blockSize, bytes of a block]`, for tables uint8 `[bytes]`. */
  readonly packed: QuantizedPart
  /** float32 `[rows, columns / blockSize]`, for tables float32 `[blocks]`, for 16 bits `[0]`. */
  readonly scales: QuantizedPart
  /** uint8 `[bytes]`; undefined where zero stands in the middle of int8. */
  readonly zeroPoints: QuantizedPart | undefined
  /**
   * The values as signed bytes (the type says uint8, as of all packed parts), `[columns, rows]` and `[rows, columns]`, and
   * their scales, float32 `[rows]`; undefined where the layout has none.
   */
  readonly turned:
    | { readonly packed: QuantizedPart; readonly signed: QuantizedPart; readonly scales: QuantizedPart }
    | undefined

  /**
   * @param source all parts one behind the other, as {@link joinParts} has them
   * @throws when the matrix does not fit the layout, or the source has another length
   */
  constructor(name: string, layout: QuantizedLayout, source: TensorSource) {
    const misfit = explainMisfit(layout)
    if (misfit) throw new Error(`The quantised tensor "${name}" cannot be: ${misfit}`)
    const sizes = sizesOf(layout)
    const bytes = source.kind === 'file' ? source.byteLength : source.bytes.byteLength
    if (bytes !== sizes.totalBytes) {
      throw new Error(`The quantised tensor "${name}" has ${bytes} bytes, expected ${sizes.totalBytes}`)
    }
    const { rows, columns, blockSize, transposed } = layout
    this.layout = layout
    this.shape = transposed ? [columns, rows] : [rows, columns]
    const { bits, blocks, packedBytes, zeroPointBytes } = sizes
    const isTable = layout.scheme === 'nf4' || layout.scheme === 'fp4'
    const perRow = columns / blockSize
    const packedShape = isTable ? [packedBytes] : [rows, perRow, (blockSize * bits) / 8]
    const scalesShape = isTable || isHalf(layout.scheme) ? [blocks] : [rows, perRow]
    this.packed = part(`${name}.packed`, 'uint8', packedShape, source, 0)
    this.scales = part(`${name}.scales`, 'float32', scalesShape, source, packedBytes)
    this.zeroPoints = zeroPointBytes
      ? part(`${name}.zero_points`, 'uint8', [zeroPointBytes], source, packedBytes + 4 * blocks)
      : undefined
    const second = packedBytes + 4 * blocks + zeroPointBytes
    this.turned = layout.turned
      ? {
          packed: part(`${name}.turned`, 'uint8', [columns, rows], source, second),
          signed: part(`${name}.signed`, 'uint8', [rows, columns], source, second + rows * columns),
          scales: part(`${name}.row_scales`, 'float32', [rows], source, second + 2 * rows * columns),
        }
      : undefined
  }

  /** A quantised tensor in memory. */
  static from(name: string, layout: QuantizedLayout, parts: PackedParts): QuantizedTensor {
    const bytes = joinParts(layout.turned ? { ...parts, ...turnedParts(parts.packed, parts.scales, layout) } : parts)
    return new QuantizedTensor(name, layout, { kind: 'memory', dtype: 'U8', shape: [bytes.byteLength], bytes })
  }

  /** The sizes of its parts. */
  get sizes(): QuantizedSizes {
    return sizesOf(this.layout)
  }

  /** The bytes that it takes, against 4 a value in float32. */
  get byteLength(): number {
    return this.sizes.totalBytes
  }

  /** Its parts: packed values, scales, and where it has them zero points, or signed values both ways and their scales. */
  get parts(): readonly QuantizedPart[] {
    if (isHalf(this.layout.scheme)) return [this.packed]
    const own = this.zeroPoints ? [this.packed, this.scales, this.zeroPoints] : [this.packed, this.scales]
    return this.turned ? [...own, this.turned.packed, this.turned.signed, this.turned.scales] : own
  }

  /** The values, dequantised, row major in {@link QuantizedTensor.shape}. */
  async read(): Promise<Float32Array> {
    const own = this.zeroPoints ? [this.packed, this.scales, this.zeroPoints] : [this.packed, this.scales]
    const [packed, scales, zeroPoints] = await Promise.all(own.map(({ source }) => readSource(source)))
    const parts = emptyParts(this.layout, 0)
    const values = unpackValues(
      { packed, scales: asTypedArray('F32', scales), zeroPoints: zeroPoints ?? parts.zeroPoints },
      this.layout,
    )
    const { rows, columns, transposed } = this.layout
    return transposed ? transpose(values, rows, columns) : values
  }
}

const DTYPES = { uint8: 'U8', float32: 'F32' } as const satisfies Record<QuantizedPart['dtype'], Dtype>

function part(
  name: string,
  dtype: QuantizedPart['dtype'],
  shape: readonly number[],
  whole: TensorSource,
  begin: number,
): QuantizedPart {
  const byteLength = shape.reduce((a, b) => a * b, dtype === 'float32' ? 4 : 1)
  const place = { dtype: DTYPES[dtype], shape }
  const source: TensorSource =
    whole.kind === 'file'
      ? { ...whole, ...place, offset: whole.offset + begin, byteLength }
      : { ...whole, ...place, bytes: whole.bytes.subarray(begin, begin + byteLength) }
  return { name, dtype, shape, source }
}

/** The parts one behind the other, in the order of {@link QuantizedTensor.parts}, and zeros up to a multiple of 64 bytes. */
export function joinParts(parts: PackedParts & Partial<TurnedParts>): Uint8Array {
  const { packed, scales, zeroPoints, turned, signed, rowScales } = parts
  const all = [packed, scales, zeroPoints, turned, signed, rowScales].filter(part => part !== undefined)
  const length = all.reduce((sum, { byteLength }) => sum + byteLength, 0)
  const bytes = new Uint8Array(Math.ceil(length / 64) * 64)
  let at = 0
  for (const { buffer, byteOffset, byteLength } of all) {
    bytes.set(new Uint8Array(buffer, byteOffset, byteLength), at)
    at += byteLength
  }
  return bytes
}

/** What a layout that is `turned` holds beside its packed values. */
export interface TurnedParts {
  /** Signed bytes `[columns, rows]` */
  turned: Uint8Array
  /** Signed bytes `[rows, columns]` */
  signed: Uint8Array
  /** float32 `[rows]` */
  rowScales: Float32Array
}

/** What a layout that is `turned` holds beside all its packed values and scales. */
export function turnedParts(packed: Uint8Array, scales: Float32Array, layout: QuantizedLayout): TurnedParts {
  const parts = emptyTurned(layout)
  turnRows(packed, 0, layout, parts)
  return { ...parts, rowScales: rowScalesOf(scales, layout) }
}

/** Room for signed values both ways. */
export function emptyTurned({ rows, columns }: QuantizedLayout): Omit<TurnedParts, 'rowScales'> {
  return { turned: new Uint8Array(rows * columns), signed: new Uint8Array(rows * columns) }
}

/** Puts some rows of packed values of 8 bits, the first of them `start`, into the matrices of signed values. */
export function turnRows(
  packed: Uint8Array,
  start: number,
  { rows, columns }: QuantizedLayout,
  { turned, signed }: Omit<TurnedParts, 'rowScales'>,
): void {
  const count = packed.length / columns
  // 128 less, as a signed byte.
  for (let i = 0; i < packed.length; i++) signed[start * columns + i] = packed[i] ^ 128
  for (let column = 0; column < columns; column++) {
    const at = column * rows + start
    for (let row = 0; row < count; row++) turned[at + row] = packed[row * columns + column] ^ 128
  }
}

/** One scale a row, of scales that are the same in all blocks of a row. */
export function rowScalesOf(scales: Float32Array, { rows, columns, blockSize }: QuantizedLayout): Float32Array {
  const perRow = columns / blockSize
  return Float32Array.from({ length: rows }, (_, row) => scales[row * perRow])
}

/** The transpose of a matrix of `rows` rows. */
export function transpose(values: Float32Array, rows: number, columns: number): Float32Array {
  const result = new Float32Array(values.length)
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) result[column * rows + row] = values[row * columns + column]
  }
  return result
}
