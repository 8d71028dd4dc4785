/** @file Parameter-efficient fine-tuning: adapters on models, in PEFT's formats. */
import './model-adapters.ts'

export * from './adapterhub/index.ts'
export {
  AutoPeftModel,
  type AutoPeftModelClass,
  AutoPeftModelForCausalLM,
  AutoPeftModelForFeatureExtraction,
  AutoPeftModelForQuestionAnswering,
  AutoPeftModelForSeq2SeqLM,
  AutoPeftModelForSequenceClassification,
  AutoPeftModelForTokenClassification,
  type AutoPeftModelOptions,
} from './auto.ts'
export {
  Average,
  BatchSplit,
  type Composable,
  type Composition,
  Fuse,
  Parallel,
  Split,
  Stack,
} from './composition.ts'
export { type ConfigDefaults, optionsFromJson, PEFT_VERSION, PeftConfig, type PeftConfigOptions } from './config.ts'
export {
  type AdapterFolder,
  type AdapterFormat,
  getAdapterFormat,
  recognizeFormat,
  registerAdapterFormat,
} from './formats.ts'
export { type HotswapOptions, hotswapAdapter } from './hotswap.ts'
export { adaptersOf, injectAdapterInModel } from './inject-in-model.ts'
export { prepareModelForKbitTraining } from './kbit.ts'
export { loadPeftConfig } from './load.ts'
export type { MergedParameter, MergeOptions } from './merge.ts'
export {
  type AdapterContext,
  type CombineContext,
  type Entered,
  type Front,
  type GradientRequest,
  getPeftConfig,
  getPeftMethod,
  type MethodAbout,
  type MethodCapabilities,
  type MethodFamily,
  type ModelFacts,
  type PeftMethod,
  PeftType,
  type Prelude,
  type PreparationTools,
  type Preset,
  peftTypes,
  registerPeftMethod,
  type SharedContext,
  type SharedState,
  type TargetOptions,
  type TrainingFile,
  type WeightedSource,
  type WrapContext,
} from './method.ts'
export * from './methods/index.ts'
export {
  type AnyPeftConfig,
  type GetPeftModelOptions,
  getPeftModel,
  type LoadAdapterOptions,
  PeftModel,
  type SaveAdapterOptions,
} from './model.ts'
export { ModulesToSaveWrapper } from './modules-to-save.ts'
export { formatTrainableParameters, type ParameterCounts } from './parameter-counts.ts'
export type { PushedAdapter, PushToHubOptions } from './push.ts'
export { BASE_ROW, type RowChoice } from './rows.ts'
export { empiricalFisher, type FisherOptions, type MaskScope, SparseLayer } from './sparse/index.ts'
export { getPeftModelStateDict, type LoadReport, type StateDictEntry, setPeftModelStateDict } from './state-dict.ts'
export {
  type Consistent,
  getLayerStatus,
  getModelStatus,
  type TunerLayerStatus,
  type TunerModelStatus,
} from './status.ts'
export { TaskType } from './task-type.ts'
export {
  attachTokens,
  isTokenTable,
  TokenAdapterLayer,
  TokenLayer,
  type TokenOptions,
  tieTokens,
  withoutTies,
} from './token-adapter.ts'
export {
  type AdapterRows,
  type AdapterState,
  changed,
  originalOf,
  ParameterTunerLayer,
  TunerLayer,
  tunerAt,
} from './tuner-layer.ts'
export type { AverageType, CombinationType, WeightedOptions } from './weighted.ts'
