/** @file OPT. */
import type { ModelClasses } from '../registry.ts'
import { OPTForCausalLM, OPTForSequenceClassification, OPTModel } from './model.ts'

export { OPTForCausalLM, OPTForSequenceClassification, OPTModel }

/** OPT's models by task. */
export const OPT_MODELS: ModelClasses = {
  FEATURE_EXTRACTION: OPTModel,
  SEQ_CLS: OPTForSequenceClassification,
  CAUSAL_LM: OPTForCausalLM,
}
