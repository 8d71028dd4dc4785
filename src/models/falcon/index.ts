/** @file Falcon. */
import type { ModelClasses } from '../registry.ts'
import { FalconForCausalLM, FalconForSequenceClassification, FalconModel } from './model.ts'

export { FalconForCausalLM, FalconForSequenceClassification, FalconModel }

/** Falcon's models by task. */
export const FALCON_MODELS: ModelClasses = {
  FEATURE_EXTRACTION: FalconModel,
  SEQ_CLS: FalconForSequenceClassification,
  CAUSAL_LM: FalconForCausalLM,
}
