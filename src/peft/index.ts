/** @file Parameter-efficient fine-tuning: adapters on models, in PEFT's formats. */
export { PEFT_VERSION, PeftConfig, type PeftConfigOptions } from './config.ts'
export { loadPeftConfig } from './load.ts'
export type { MergedParameter } from './merge.ts'
export {
  type AdapterContext,
  type CombineContext,
  type Entered,
  getPeftConfig,
  getPeftMethod,
  type MethodAbout,
  type MethodCapabilities,
  type MethodFamily,
  type ModelFacts,
  type PeftMethod,
  PeftType,
  type PreparationTools,
  peftTypes,
  registerPeftMethod,
  type SharedContext,
  type SharedState,
  type TargetOptions,
  type WrapContext,
} from './method.ts'
export * from './methods/index.ts'
export {
  type AnyPeftConfig,
  type GetPeftModelOptions,
  getPeftModel,
  type LoadAdapterOptions,
  PeftModel,
} from './model.ts'
export { ModulesToSaveWrapper } from './modules-to-save.ts'
export { formatTrainableParameters, type ParameterCounts } from './parameter-counts.ts'
export { getPeftModelStateDict, type LoadReport, type StateDictEntry, setPeftModelStateDict } from './state-dict.ts'
export { TaskType } from './task-type.ts'
export {
  type AdapterRows,
  type AdapterState,
  originalOf,
  ParameterTunerLayer,
  TunerLayer,
  tunerAt,
} from './tuner-layer.ts'
