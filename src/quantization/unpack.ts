/** @file Dequantising: packed values back into float32. */

import { toFloat32 } from '../weights/index.ts'
import { CODEBOOKS } from './codebook.ts'
import { HALF_DTYPES, hasCodebook, isHalf, type QuantizedLayout } from './layout.ts'
import type { PackedParts } from './pack.ts'

/** The values that packed ones stand for, in the order in which they are packed (rows one behind the other). */
export function unpackValues({ packed, scales, zeroPoints }: PackedParts, layout: QuantizedLayout): Float32Array {
  const { scheme, blockSize } = layout
  if (isHalf(scheme)) return toFloat32(HALF_DTYPES[scheme], packed)
  const values = new Float32Array(scales.length * blockSize)
  if (hasCodebook(scheme)) {
    const table = CODEBOOKS[scheme]
    for (let i = 0; i < values.length; i++) {
      const code = i & 1 ? packed[i >> 1] & 15 : packed[i >> 1] >> 4
      values[i] = table[code] * scales[(i / blockSize) | 0]
    }
    return values
  }
  const wide = scheme === 'int8'
  for (let block = 0; block < scales.length; block++) {
    const scale = scales[block]
    const zero = wide
      ? layout.symmetric
        ? 128
        : zeroPoints[block]
      : (zeroPoints[block >> 1] >> (4 * (block & 1))) & 15
    const end = (block + 1) * blockSize
    for (let i = block * blockSize; i < end; i++) {
      values[i] = ((wide ? packed[i] : (packed[i >> 1] >> (4 * (i & 1))) & 15) - zero) * scale
    }
  }
  return values
}
