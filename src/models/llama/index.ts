/** @file Llama. */
import type { ModelClasses } from '../registry.ts'
import { LlamaForCausalLM, LlamaForSequenceClassification } from './heads.ts'
import { LlamaModel } from './model.ts'

export { LlamaForCausalLM, LlamaForSequenceClassification, LlamaModel }

/** Llama's models by task. */
export const LLAMA_MODELS: ModelClasses = {
  FEATURE_EXTRACTION: LlamaModel,
  SEQ_CLS: LlamaForSequenceClassification,
  CAUSAL_LM: LlamaForCausalLM,
}
