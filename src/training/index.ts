/** @file Training: losses with gradients, optimizers, schedules, metrics, and the Trainer. */
export {
  type CacheActivations,
  type IntervalStrategy,
  type NonFinitePolicy,
  type SaveStrategy,
  type SpikePolicy,
  TrainingArguments,
  type TrainingArgumentsOptions,
  type TrainingOption,
} from './arguments.ts'
export {
  type ActivationReport,
  EarlyStoppingCallback,
  type EarlyStoppingOptions,
  type EvaluationLog,
  type PreparationReport,
  type SkipReport,
  type StepReport,
  type TrainerCallback,
  type TrainerControl,
  type TrainerEvents,
  type TrainerState,
  type TrainingLog,
} from './callbacks.ts'
export type { Batch, DataCollator } from './collate.ts'
export {
  CheckpointError,
  LossSpikeError,
  NonFiniteError,
  OutputFolderInUseError,
  TrainingInterrupted,
} from './errors.ts'
export type { ComputeMetrics, Predictions } from './evaluation.ts'
export type { ExampleSource, PreparedExamples } from './examples.ts'
export { type ForecastModel, type ForecastOptions, forecastStep, type MemoryForecast } from './forecast.ts'
export { clipGradNorm, GradientSum } from './gradient.ts'
export { imageCollator, type MediaFeature, speechCollator } from './media.ts'
export {
  accuracy,
  argmax,
  classificationMetrics,
  type F1Options,
  f1Score,
  matthewsCorrelation,
  perplexity,
} from './metrics.ts'
export type { TrainableModel, TrainingTask } from './model.ts'
export { AdamW, type AdamWOptions } from './optimizers/adamw.ts'
export { createOptimizer } from './optimizers/create.ts'
export { createLoraFaOptimizer, LoraFA, type LoraFAOptions, type LoraPair } from './optimizers/lora-fa.ts'
export { createLoraPlusOptimizer, type LoraPlusOptions, type OptimizerClass } from './optimizers/lora-plus.ts'
export { Optimizer, type OptimizerOptions, type OptimizerState } from './optimizers/optimizer.ts'
export { SGD, type SGDOptions } from './optimizers/sgd.ts'
export { freeze, setTrainable, trainHead } from './parameters.ts'
export { type PreparationBatch, type PrepareOptions, prepareAdapters } from './prepare.ts'
export { answerMetrics, bestSpan } from './question-answering.ts'
export type { TrainResult } from './run.ts'
export {
  getConstantSchedule,
  getConstantScheduleWithWarmup,
  getCosineScheduleWithWarmup,
  getLinearScheduleWithWarmup,
  getScheduler,
  SCHEDULER_TYPES,
  type Schedule,
  type ScheduleOptions,
  type SchedulerType,
} from './schedules.ts'
export { entityScores, tagMetrics } from './tagging.ts'
export { characterErrorRate, editDistance, exactMatch, rougeL, wordErrorRate } from './text-metrics.ts'
export {
  type PredictionOutput,
  type TaskTokenization,
  Trainer,
  type TrainerOptions,
  type TrainOptions,
} from './trainer.ts'
export {
  type LossResult,
  type StepFunction,
  trainableParameters,
  type ValueAndGradients,
  type ValueAndGradOptions,
  valueAndGrad,
} from './value-and-grad.ts'
export { decayRule } from './weight-decay.ts'
