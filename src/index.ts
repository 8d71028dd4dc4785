/** @file peft-ts: parameter-efficient fine-tuning for TypeScript. */
export {
  AutoTokenizer,
  Dataset,
  decodeImage,
  type Feature,
  ImageProcessor,
  loadDataset,
  loadImageDataset,
  loadSpeechDataset,
  openWhisperPrompt,
  prepareImages,
  prepareSpeech,
  readWav,
  Tokenizer,
  tokenizeCausalLM,
  tokenizeClassification,
  tokenizeQuestionAnswering,
  tokenizeSeq2Seq,
  tokenizeTokenClassification,
  WhisperFeatureExtractor,
  whisperPrompt,
} from './data/index.ts'
export * from './embeddings/index.ts'
export * from './generation/index.ts'
export * from './graph/index.ts'
export { type CompiledFunction, compile, type FunctionOptions, type InputSpecs } from './models/function.ts'
export {
  AutoConfig,
  AutoModel,
  AutoModelForCausalLM,
  AutoModelForImageClassification,
  AutoModelForMaskedLM,
  AutoModelForQuestionAnswering,
  AutoModelForSeq2SeqLM,
  AutoModelForSequenceClassification,
  AutoModelForSpeechSeq2Seq,
  AutoModelForTokenClassification,
  type FromPretrainedOptions,
  type ModelInputs,
  type ModelOutput,
  PreTrainedModel,
  PretrainedConfig,
} from './models/index.ts'
export * from './nn/index.ts'
export * from './peft/index.ts'
export {
  BitsAndBytesConfig,
  type BitsAndBytesOptions,
  type QuantizationConfig,
  type QuantizeName,
  type QuantizeOptions,
} from './quantization/index.ts'
export {
  type CompileOptions,
  defaultEngine,
  Engine,
  type QuantizedProducts,
  type TensorData,
  tensorData,
} from './runtime/index.ts'
export * from './training/index.ts'
