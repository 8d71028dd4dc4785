/** @file What encoders share: loading, and the heads that are the same in all of them. */
export { EncoderForMaskedLM } from './masked-lm.ts'
export { classifierDropout, EncoderPreTrainedModel, EncoderWithHead } from './pretrained.ts'
export { EncoderForQuestionAnswering } from './question-answering.ts'
export { EncoderForTokenClassification } from './token-classification.ts'
