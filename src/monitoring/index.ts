/** @file Seeing a training: metrics as JSON lines, TensorBoard's event files, the live page. The public subpath `peft-ts/monitoring`. */
export type {
  EndEvent,
  ErrorEvent,
  EvaluationEvent,
  LogEvent,
  PauseEvent,
  ResumeEvent,
  RunEvent,
  Sample,
  SamplesEvent,
  SaveEvent,
  SkipEvent,
  StartEvent,
} from './events.ts'
export { METRICS_FILE, metricsFile, readEvents } from './metrics-file.ts'
export { type SampleOptions, type Samples, trainingSamples } from './samples.ts'
export { runsPage, type TrainingPage, type TrainingPageOptions, trainingPage } from './server.ts'
export type { RecordOptions } from './sink.ts'
export { tensorBoard } from './tensorboard/tensorboard.ts'
