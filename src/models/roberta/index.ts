/** @file RoBERTa. */
import type { ModelClasses } from '../registry.ts'
import {
  RobertaForMaskedLM,
  RobertaForQuestionAnswering,
  RobertaForSequenceClassification,
  RobertaForTokenClassification,
} from './heads.ts'
import { RobertaModel } from './model.ts'

export {
  RobertaForMaskedLM,
  RobertaForQuestionAnswering,
  RobertaForSequenceClassification,
  RobertaForTokenClassification,
  RobertaModel,
}

/** RoBERTa's models by task. */
export const ROBERTA_MODELS: ModelClasses = {
  FEATURE_EXTRACTION: RobertaModel,
  SEQ_CLS: RobertaForSequenceClassification,
  TOKEN_CLS: RobertaForTokenClassification,
  QUESTION_ANS: RobertaForQuestionAnswering,
  MASKED_LM: RobertaForMaskedLM,
}
