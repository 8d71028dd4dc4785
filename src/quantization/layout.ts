/** @file How the values of a quantised matrix lie in bytes, for each scheme. */

/**
 * How values are held: `int8` and `int4` are whole numbers times the scale of their block; `nf4` and `fp4` are positions
 * in a table of 16 values (bitsandbytes' 4-bit normal float and 4-bit float) times the block's largest magnitude;
 * `bfloat16` and `float16` are the numbers themselves in 16 bits, without scales.
 */
export type QuantizationScheme = 'int8' | 'int4' | 'nf4' | 'fp4' | HalfScheme

/** The schemes of 16 bits, by what safetensors calls them. */
export const HALF_DTYPES = { bfloat16: 'BF16', float16: 'F16' } as const

/** A scheme of 16 bits. */
export type HalfScheme = keyof typeof HALF_DTYPES

/** The schemes. */
export const QUANTIZATION_SCHEMES: readonly QuantizationScheme[] = ['int8', 'int4', 'nf4', 'fp4', 'bfloat16', 'float16']

/** What the bytes of a quantised matrix mean. */
export interface QuantizedLayout {
  readonly scheme: QuantizationScheme
  /** Rows (outputs) and columns (inputs), as packed: blocks lie in a row one behind the other. */
  readonly rows: number
  readonly columns: number
  /** How many neighbouring values of a row share a scale; in schemes of 16 bits a whole row, and there is none. */
  readonly blockSize: number
  /** Whether zero stands in the middle of the whole numbers (128 or 8), so that blocks have no zero points of their own. */
  readonly symmetric: boolean
  /** Whether the parameter is the transpose of what is packed, as GPT-2's `[in, out]` weights are. */
  readonly transposed: boolean
  /**
   * Whether int8 values have one scale a row, are at most 63, and are held twice more as signed bytes, with inputs and
   * with outputs as rows, as products in 8-bit arithmetic read them. 63 because the kernels of processors without VNNI
   * add two products of a byte and a weight in 16 bits: with larger weights the sums would be cut off.
   */
  readonly turned?: boolean
}

/** The sizes of what a quantised matrix is stored as. */
export interface QuantizedSizes {
  /** Bits a value. */
  readonly bits: 4 | 8 | 16
  readonly blocks: number
  /** Bytes of the packed values; two values a byte where they take 4 bits. */
  readonly packedBytes: number
  /** Bytes of the zero points; 0 where there are none. */
  readonly zeroPointBytes: number
  /** Bytes of the values that are held twice more, and of their scales; 0 where they are not. */
  readonly turnedBytes: number
  /**
   * Everything together, with a float32 scale a block, filled up to a multiple of 64 so that neighbours are aligned. Values
   * of 16 bits are the tensors of a checkpoint as they are, and not filled up.
   */
  readonly totalBytes: number
}

/** Whether a scheme looks its values up in a table. */
export function hasCodebook(scheme: QuantizationScheme): scheme is 'nf4' | 'fp4' {
  return scheme === 'nf4' || scheme === 'fp4'
}

/** Whether a scheme holds floating-point numbers of 16 bits. */
export function isHalf(scheme: QuantizationScheme): scheme is HalfScheme {
  return scheme in HALF_DTYPES
}

/** The sizes of a layout. Zero points of `int4` are always stored: the kernels that dequantise need them. */
export function sizesOf({ scheme, rows, columns, blockSize, symmetric, turned }: QuantizedLayout): QuantizedSizes {
  const count = rows * columns
  if (isHalf(scheme)) {
    const none = { blocks: 0, zeroPointBytes: 0, turnedBytes: 0 }
    return { ...none, bits: 16, packedBytes: 2 * count, totalBytes: 2 * count }
  }
  const bits = scheme === 'int8' ? 8 : 4
  const blocks = count / blockSize
  const packedBytes = (count * bits) / 8
  const zeroPointBytes = scheme === 'int4' ? blocks / 2 : scheme === 'int8' && !symmetric ? blocks : 0
  const turnedBytes = turned ? 2 * count + 4 * rows : 0
  const totalBytes = Math.ceil((packedBytes + 4 * blocks + zeroPointBytes + turnedBytes) / 64) * 64
  return { bits, blocks, packedBytes, zeroPointBytes, turnedBytes, totalBytes }
}

/**
 * Why a matrix cannot be packed in this way, or undefined where it can. Whole numbers need rows of whole blocks (int4:
 * of an even number of them, so that zero points fill bytes), tables only whole blocks in all.
 */
export function explainMisfit(layout: QuantizedLayout): string | undefined {
  const { scheme, rows, columns, blockSize, symmetric, turned } = layout
  if (isHalf(scheme)) return undefined
  if (turned && (scheme !== 'int8' || !symmetric)) return 'only symmetric int8 can be held turned round'
  if (!Number.isInteger(Math.log2(blockSize)) || blockSize < 16 || blockSize > 4096) {
    return `the block size is ${blockSize}, expected a power of two from 16 to 4096`
  }
  if (hasCodebook(scheme)) {
    const count = rows * columns
    return count % blockSize ? `its ${count} values are no whole number of blocks of ${blockSize}` : undefined
  }
  if (blockSize > 256) return `the block size is ${blockSize}, expected at most 256 for ${scheme}`
  const unit = scheme === 'int4' ? 2 * blockSize : blockSize
  return columns % unit ? `its rows of ${columns} values are no multiple of ${unit}` : undefined
}

/**
 * The largest block size up to `wanted` that divides rows of so many values; undefined where none of 16 or more does.
 *
 * @param wanted a power of two
 */
export function fittingBlockSize(layout: Omit<QuantizedLayout, 'blockSize'>, wanted: number): number | undefined {
  for (let blockSize = wanted; blockSize >= 16; blockSize /= 2) {
    if (explainMisfit({ ...layout, blockSize }) === undefined) return blockSize
  }
  return undefined
}
