/** @file ONNX protobuf: models in and out of bytes, external data included. */
export { decodeModel } from './read.ts'
export * from './types.ts'
export { encodeModel } from './write.ts'
