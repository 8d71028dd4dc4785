/** @file Quantised weights: layouts, packing, and readers of other libraries' formats. */
export { CODEBOOKS, dynamicMap } from './codebook.ts'
export {
  BitsAndBytesConfig,
  type BitsAndBytesOptions,
  QUANTIZE_NAMES,
  type QuantizationConfig,
  type QuantizeName,
  type QuantizeOptions,
  quantizationOf,
  type WeightQuantization,
} from './config.ts'
export { type QuantizedEntry, QuantizedFile } from './file.ts'
export { READABLE_METHODS, readQuantized } from './formats/index.ts'
export {
  explainMisfit,
  fittingBlockSize,
  HALF_DTYPES,
  hasCodebook,
  isHalf,
  QUANTIZATION_SCHEMES,
  type QuantizationScheme,
  type QuantizedLayout,
  type QuantizedSizes,
  sizesOf,
} from './layout.ts'
export { doubleQuantized, emptyParts, type PackedParts, type PackOptions, packValues } from './pack.ts'
export { type Packing, quantizedEntry } from './stream.ts'
export { joinParts, type QuantizedPart, QuantizedTensor } from './tensor.ts'
export { unpackValues } from './unpack.ts'
