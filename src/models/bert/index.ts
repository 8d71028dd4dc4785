/** @file BERT. */
import type { ModelClasses } from '../registry.ts'
import { BertModel } from './model.ts'
import { BertForSequenceClassification } from './sequence-classification.ts'

export { BertForSequenceClassification, BertModel }

/** BERT's models by task. */
export const BERT_MODELS: ModelClasses = { FEATURE_EXTRACTION: BertModel, SEQ_CLS: BertForSequenceClassification }
