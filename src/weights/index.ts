/** @file Safetensors for Node and the browser: reading, writing, sharded checkpoints, element types. */
export { fromFloat32, toFloat32 } from './cast.ts'
export { Checkpoint, type CheckpointOptions } from './checkpoint.ts'
export {
  type ConversionOptions,
  convertedToFloat32,
  defaultCacheDir,
  fingerprint,
  float32Entries,
  type JoinedTensor,
} from './convert.ts'
export {
  asBytes,
  asTypedArray,
  bytesPerElement,
  DTYPE_BYTES,
  DTYPES,
  type Dtype,
  elementCount,
  isDtype,
  isFloatDtype,
  type TypedArrayOf,
} from './dtype.ts'
export { SafetensorsError } from './error.ts'
export { SafetensorsFile } from './file.ts'
export {
  type Metadata,
  parseHeader,
  parseHeaderLength,
  type SafetensorsHeader,
  type TensorLocation,
} from './header.ts'
export { type ParsedSafetensors, parseSafetensors } from './parse.ts'
export type { ByteRange, TensorInfo, TensorReader } from './reader.ts'
export { saveFile } from './save.ts'
export {
  type DeferredEntry,
  type MemoryEntry,
  type StreamedEntry,
  safetensorsChunks,
  serializeSafetensors,
  type TensorDescription,
  type TensorEntry,
} from './serialize.ts'
export { type FileSource, type MemorySource, readSource, readSourceFloat32, type TensorSource } from './source.ts'
