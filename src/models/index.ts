/** @file Models: architectures by their checkpoints' names, configurations, and the Auto classes that open them. */

export type { AdapterConfig, AddAdapterOptions, LoadModelAdapterOptions } from './adapters.ts'
export * from './albert/index.ts'
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
  AutoModelForSpeechSeq2Seq,
  AutoModelForTokenClassification,
} from './auto.ts'
export * from './bart/index.ts'
export * from './bert/index.ts'
export * from './bloom/index.ts'
export * from './clip/index.ts'
export * from './config.ts'
export * from './deberta-v2/index.ts'
export * from './dinov2/index.ts'
export * from './distilbert/index.ts'
export * from './electra/index.ts'
export * from './falcon/index.ts'
export * from './gemma/index.ts'
export * from './gemma2/index.ts'
export * from './gemma3/index.ts'
export * from './gpt-neox/index.ts'
export * from './gpt2/index.ts'
export type { DownloadProgress, ResolveOptions } from './hub.ts'
export type { InputSpec, ModelInputs, ModelOutput, ModelTask } from './inputs.ts'
export * from './llama/index.ts'
export * from './mistral/index.ts'
export * from './mixtral/index.ts'
export * from './modernbert/index.ts'
export * from './mt5/index.ts'
export * from './olmo2/index.ts'
export * from './opt/index.ts'
export * from './phi/index.ts'
export * from './phi3/index.ts'
export {
  type FromPretrainedOptions,
  type ModelClass,
  type ModelConfig,
  PreTrainedModel,
  type TextConfig,
} from './pretrained-model.ts'
export * from './qwen2/index.ts'
export * from './qwen3/index.ts'
export * from './qwen3-moe/index.ts'
export { findModelClass, type ModelClasses, registeredModels, registerModel } from './registry.ts'
export * from './roberta/index.ts'
export * from './smollm3/index.ts'
export * from './t5/index.ts'
export * from './vit/index.ts'
export * from './whisper/index.ts'
export * from './xlm-roberta/index.ts'
