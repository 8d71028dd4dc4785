/** @file T5. */
import type { ModelClasses } from '../registry.ts'
import { T5ForConditionalGeneration, T5Model } from './model.ts'

export { T5ForConditionalGeneration, T5Model }

/** T5's models by task. */
export const T5_MODELS: ModelClasses = { FEATURE_EXTRACTION: T5Model, SEQ_2_SEQ_LM: T5ForConditionalGeneration }
