/** @file ModernBERT. */
import type { ModelClasses } from '../registry.ts'
import {
  ModernBertForMaskedLM,
  ModernBertForSequenceClassification,
  ModernBertForTokenClassification,
} from './heads.ts'
import { ModernBertModel } from './model.ts'

export { ModernBertForMaskedLM, ModernBertForSequenceClassification, ModernBertForTokenClassification, ModernBertModel }

/** ModernBERT's models by task. */
export const MODERNBERT_MODELS: ModelClasses = {
  FEATURE_EXTRACTION: ModernBertModel,
  SEQ_CLS: ModernBertForSequenceClassification,
  TOKEN_CLS: ModernBertForTokenClassification,
  MASKED_LM: ModernBertForMaskedLM,
}
