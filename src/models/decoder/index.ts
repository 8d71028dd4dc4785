/** @file What decoders share: the row of layers, and the heads. */
export { type DecoderConfig, DecoderForCausalLM, DecoderForSequenceClassification } from './heads.ts'
export { type DecoderLayer, type PositionOptions, runLayers } from './layers.ts'
export { decoderMask, SEGMENT_SPECS } from './mask.ts'
export { DecoderPreTrainedModel } from './pretrained.ts'
