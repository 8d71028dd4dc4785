/** @file GPT-2. */
import type { ModelClasses } from '../registry.ts'
import { GPT2ForSequenceClassification, GPT2LMHeadModel } from './heads.ts'
import { GPT2Model } from './model.ts'

export { GPT2ForSequenceClassification, GPT2LMHeadModel, GPT2Model }

/** GPT-2's models by task. */
export const GPT2_MODELS: ModelClasses = {
  FEATURE_EXTRACTION: GPT2Model,
  SEQ_CLS: GPT2ForSequenceClassification,
  CAUSAL_LM: GPT2LMHeadModel,
}
