/** @file BERT. */
import type { ModelClasses } from '../registry.ts'
import { BertForQuestionAnswering, BertForSequenceClassification, BertForTokenClassification } from './heads.ts'
import { BertForMaskedLM } from './masked-lm.ts'
import { BertModel } from './model.ts'

export {
  BertForMaskedLM,
  BertForQuestionAnswering,
  BertForSequenceClassification,
  BertForTokenClassification,
  BertModel,
}

/** BERT's models by task. */
export const BERT_MODELS: ModelClasses = {
  FEATURE_EXTRACTION: BertModel,
  SEQ_CLS: BertForSequenceClassification,
  TOKEN_CLS: BertForTokenClassification,
  QUESTION_ANS: BertForQuestionAnswering,
  MASKED_LM: BertForMaskedLM,
}
