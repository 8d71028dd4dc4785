/** @file Models: architectures by their checkpoints' names, configurations, and the Auto classes that open them. */

export { type AttentionContext, AttentionModule, type AttentionRole } from './attention-context.ts'
export {
  AutoModel,
  type AutoModelClass,
  AutoModelForCausalLM,
  AutoModelForImageClassification,
  AutoModelForMaskedLM,
  AutoModelForQuestionAnswering,
  AutoModelForSeq2SeqLM,
  AutoModelForSequenceClassification,
  AutoModelForTokenClassification,
} from './auto.ts'
export * from './bert/index.ts'
export * from './config.ts'
export * from './gpt2/index.ts'
export type { DownloadProgress, ResolveOptions } from './hub.ts'
export type { InputSpec, ModelInputs, ModelOutput, ModelTask } from './inputs.ts'
export * from './llama/index.ts'
export { type FromPretrainedOptions, type ModelClass, type ModelConfig, PreTrainedModel, type TextConfig } from './pretrained-model.ts'
export * from './qwen2/index.ts'
export { findModelClass, type ModelClasses, registeredModels, registerModel } from './registry.ts'
