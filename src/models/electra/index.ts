/** @file ELECTRA. */
import type { ModelClasses } from '../registry.ts'
import {
  ElectraForMaskedLM,
  ElectraForQuestionAnswering,
  ElectraForSequenceClassification,
  ElectraForTokenClassification,
} from './heads.ts'
import { ElectraModel } from './model.ts'

export {
  ElectraForMaskedLM,
  ElectraForQuestionAnswering,
  ElectraForSequenceClassification,
  ElectraForTokenClassification,
  ElectraModel,
}

/** ELECTRA's models by task. */
export const ELECTRA_MODELS: ModelClasses = {
  FEATURE_EXTRACTION: ElectraModel,
  SEQ_CLS: ElectraForSequenceClassification,
  TOKEN_CLS: ElectraForTokenClassification,
  QUESTION_ANS: ElectraForQuestionAnswering,
  MASKED_LM: ElectraForMaskedLM,
}
