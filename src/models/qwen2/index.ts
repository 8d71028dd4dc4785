/** @file Qwen2 and Qwen2.5. */
import type { ModelClasses } from '../registry.ts'
import { Qwen2ForCausalLM, Qwen2ForSequenceClassification, Qwen2Model } from './model.ts'

export { Qwen2ForCausalLM, Qwen2ForSequenceClassification, Qwen2Model }

/** Qwen2's models by task. */
export const QWEN2_MODELS: ModelClasses = {
  FEATURE_EXTRACTION: Qwen2Model,
  SEQ_CLS: Qwen2ForSequenceClassification,
  CAUSAL_LM: Qwen2ForCausalLM,
}
