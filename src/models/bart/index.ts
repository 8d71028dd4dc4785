/** @file BART. */
import type { ModelClasses } from '../registry.ts'
import { BartForConditionalGeneration, BartModel } from './model.ts'

export { BartForConditionalGeneration, BartModel }

/** BART's models by task. */
export const BART_MODELS: ModelClasses = { FEATURE_EXTRACTION: BartModel, SEQ_2_SEQ_LM: BartForConditionalGeneration }
