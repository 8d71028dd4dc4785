/** @file Gemma. */
import type { ModelClasses } from '../registry.ts'
import { GemmaForCausalLM, GemmaForSequenceClassification, GemmaModel } from './model.ts'

export { GemmaForCausalLM, GemmaForSequenceClassification, GemmaModel }

/** Gemma's models by task. */
export const GEMMA_MODELS: ModelClasses = {
  FEATURE_EXTRACTION: GemmaModel,
  SEQ_CLS: GemmaForSequenceClassification,
  CAUSAL_LM: GemmaForCausalLM,
}
