/** @file DeBERTa-v2 and v3. */
import type { ModelClasses } from '../registry.ts'
import {
  DebertaV2ForQuestionAnswering,
  DebertaV2ForSequenceClassification,
  DebertaV2ForTokenClassification,
} from './heads.ts'
import { DebertaV2ForMaskedLM } from './masked-lm.ts'
import { DebertaV2Model } from './model.ts'

export {
  DebertaV2ForMaskedLM,
  DebertaV2ForQuestionAnswering,
  DebertaV2ForSequenceClassification,
  DebertaV2ForTokenClassification,
  DebertaV2Model,
}

/** DeBERTa's models by task. */
export const DEBERTA_V2_MODELS: ModelClasses = {
  FEATURE_EXTRACTION: DebertaV2Model,
  SEQ_CLS: DebertaV2ForSequenceClassification,
  TOKEN_CLS: DebertaV2ForTokenClassification,
  QUESTION_ANS: DebertaV2ForQuestionAnswering,
  MASKED_LM: DebertaV2ForMaskedLM,
}
