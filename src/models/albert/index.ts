/** @file ALBERT. */
import type { ModelClasses } from '../registry.ts'
import {
  AlbertForMaskedLM,
  AlbertForQuestionAnswering,
  AlbertForSequenceClassification,
  AlbertForTokenClassification,
} from './heads.ts'
import { AlbertModel } from './model.ts'

export {
  AlbertForMaskedLM,
  AlbertForQuestionAnswering,
  AlbertForSequenceClassification,
  AlbertForTokenClassification,
  AlbertModel,
}

/** ALBERT's models by task. */
export const ALBERT_MODELS: ModelClasses = {
  FEATURE_EXTRACTION: AlbertModel,
  SEQ_CLS: AlbertForSequenceClassification,
  TOKEN_CLS: AlbertForTokenClassification,
  QUESTION_ANS: AlbertForQuestionAnswering,
  MASKED_LM: AlbertForMaskedLM,
}
