/** @file Engines: graphs compiled and run on data. */
export * from './engine.ts'
export * from './kernels.ts'
export * from './memory.ts'
export { NodeBackend } from './node/backend.ts'
export { type KernelChoice, KernelStore, type KernelStoreOptions } from './node/kernel-store.ts'
export type { SourcedWeight } from './node/weights.ts'
export * from './tensor-data.ts'
