/** @file Gemma 2. */
import type { ModelClasses } from '../registry.ts'
import { Gemma2ForCausalLM, Gemma2ForSequenceClassification, Gemma2Model } from './model.ts'

export { Gemma2ForCausalLM, Gemma2ForSequenceClassification, Gemma2Model }

/** Gemma 2's models by task. */
export const GEMMA2_MODELS: ModelClasses = {
  FEATURE_EXTRACTION: Gemma2Model,
  SEQ_CLS: Gemma2ForSequenceClassification,
  CAUSAL_LM: Gemma2ForCausalLM,
}
