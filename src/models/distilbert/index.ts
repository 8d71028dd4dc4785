/** @file DistilBERT. */
import type { ModelClasses } from '../registry.ts'
import {
  DistilBertForMaskedLM,
  DistilBertForQuestionAnswering,
  DistilBertForSequenceClassification,
  DistilBertForTokenClassification,
} from './heads.ts'
import { DistilBertModel } from './model.ts'

export {
  DistilBertForMaskedLM,
  DistilBertForQuestionAnswering,
  DistilBertForSequenceClassification,
  DistilBertForTokenClassification,
  DistilBertModel,
}

/** DistilBERT's models by task. */
export const DISTILBERT_MODELS: ModelClasses = {
  FEATURE_EXTRACTION: DistilBertModel,
  SEQ_CLS: DistilBertForSequenceClassification,
  TOKEN_CLS: DistilBertForTokenClassification,
  QUESTION_ANS: DistilBertForQuestionAnswering,
  MASKED_LM: DistilBertForMaskedLM,
}
