/** @file mT5 (arXiv 2010.11934): T5 version 1.1 with a vocabulary of many languages. */
import type { MT5Config } from '../config.ts'
import type { ModelClasses } from '../registry.ts'
import { T5ForConditionalGeneration, T5Model } from '../t5/index.ts'

/** The bare encoder and decoder. */
export class MT5Model extends T5Model<MT5Config> {
  static override readonly modelType: string = 'mt5'
}

/** mT5 that writes a text from a text. */
export class MT5ForConditionalGeneration extends T5ForConditionalGeneration<MT5Config> {
  static override readonly modelType: string = 'mt5'
}

/** mT5's models by task. */
export const MT5_MODELS: ModelClasses = { FEATURE_EXTRACTION: MT5Model, SEQ_2_SEQ_LM: MT5ForConditionalGeneration }
