/** @file Whisper. */
import type { ModelClasses } from '../registry.ts'
import { WhisperForConditionalGeneration, WhisperModel } from './model.ts'

export { WhisperForConditionalGeneration, WhisperModel }

/** Whisper's models by task. */
export const WHISPER_MODELS: ModelClasses = {
  FEATURE_EXTRACTION: WhisperModel,
  SEQ_2_SEQ_LM: WhisperForConditionalGeneration,
}
