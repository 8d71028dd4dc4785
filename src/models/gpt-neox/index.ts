/** @file GPT-NeoX and Pythia. */
import type { ModelClasses } from '../registry.ts'
import { GPTNeoXForCausalLM, GPTNeoXForSequenceClassification, GPTNeoXModel } from './model.ts'

export { GPTNeoXForCausalLM, GPTNeoXForSequenceClassification, GPTNeoXModel }

/** GPT-NeoX's models by task. */
export const GPT_NEOX_MODELS: ModelClasses = {
  FEATURE_EXTRACTION: GPTNeoXModel,
  SEQ_CLS: GPTNeoXForSequenceClassification,
  CAUSAL_LM: GPTNeoXForCausalLM,
}
