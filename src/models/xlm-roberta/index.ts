/** @file XLM-RoBERTa (arXiv 1911.02116): RoBERTa under another name. */
import type { XLMRobertaConfig } from '../config.ts'
import type { ModelClasses } from '../registry.ts'
import {
  RobertaForMaskedLM,
  RobertaForQuestionAnswering,
  RobertaForSequenceClassification,
  RobertaForTokenClassification,
  RobertaModel,
} from '../roberta/index.ts'

const MODEL_TYPE = 'xlm-roberta'

/** The bare encoder. */
export class XLMRobertaModel extends RobertaModel<XLMRobertaConfig> {
  static override readonly modelType: string = MODEL_TYPE
}

/** XLM-RoBERTa with a classifier of sequences. */
export class XLMRobertaForSequenceClassification extends RobertaForSequenceClassification<XLMRobertaConfig> {
  static override readonly modelType: string = MODEL_TYPE
}

/** XLM-RoBERTa with a dense layer over each token. */
export class XLMRobertaForTokenClassification extends RobertaForTokenClassification<XLMRobertaConfig> {
  static override readonly modelType: string = MODEL_TYPE
}

/** XLM-RoBERTa finding the span of a text which answers a question. */
export class XLMRobertaForQuestionAnswering extends RobertaForQuestionAnswering<XLMRobertaConfig> {
  static override readonly modelType: string = MODEL_TYPE
}

/** XLM-RoBERTa filling in masked tokens. */
export class XLMRobertaForMaskedLM extends RobertaForMaskedLM<XLMRobertaConfig> {
  static override readonly modelType: string = MODEL_TYPE
}

/** XLM-RoBERTa's models by task. */
export const XLM_ROBERTA_MODELS: ModelClasses = {
  FEATURE_EXTRACTION: XLMRobertaModel,
  SEQ_CLS: XLMRobertaForSequenceClassification,
  TOKEN_CLS: XLMRobertaForTokenClassification,
  QUESTION_ANS: XLMRobertaForQuestionAnswering,
  MASKED_LM: XLMRobertaForMaskedLM,
}
