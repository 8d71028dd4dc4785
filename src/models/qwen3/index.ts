/** @file Qwen3. */
import type { ModelClasses } from '../registry.ts'
import { Qwen3ForCausalLM, Qwen3ForSequenceClassification, Qwen3Model } from './model.ts'

export { Qwen3ForCausalLM, Qwen3ForSequenceClassification, Qwen3Model }

/** Qwen3's models by task. */
export const QWEN3_MODELS: ModelClasses = {
  FEATURE_EXTRACTION: Qwen3Model,
  SEQ_CLS: Qwen3ForSequenceClassification,
  CAUSAL_LM: Qwen3ForCausalLM,
}
