/** @file BLOOM. */
import type { ModelClasses } from '../registry.ts'
import { BloomForCausalLM, BloomForSequenceClassification, BloomModel } from './model.ts'

export { BloomForCausalLM, BloomForSequenceClassification, BloomModel }

/** BLOOM's models by task. */
export const BLOOM_MODELS: ModelClasses = {
  FEATURE_EXTRACTION: BloomModel,
  SEQ_CLS: BloomForSequenceClassification,
  CAUSAL_LM: BloomForCausalLM,
}
