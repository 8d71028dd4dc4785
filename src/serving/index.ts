/** @file Serving: the OpenAI-compatible HTTP interface over one base and many adapters. The public subpath `peft-ts/serving`. Node only. */
export { type FoundAdapter, findAdapters } from './adapter-folders.ts'
export { type AppOptions, createApp } from './app.ts'
export type {
  Load,
  RowEvent,
  RowRequest,
  RowSettings,
  ServedModel,
  TextBackend,
} from './backend.ts'
export { ApiError } from './errors.ts'
export type { GeneratingModel } from './lanes.ts'
export { type ModelBackend, type ModelBackendOptions, openBackend } from './model-backend.ts'
export { type RunningServer, type ServeOptions, serve } from './server.ts'
