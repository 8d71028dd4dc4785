/** @file CLIP. */
import type { ModelClasses } from '../registry.ts'
import { CLIPModel } from './model.ts'
import { CLIPTextModel, CLIPTextModelWithProjection } from './text.ts'
import { CLIPVisionModel } from './vision.ts'

export { CLIPModel, CLIPTextModel, CLIPTextModelWithProjection, CLIPVisionModel }

/** CLIP's models by task. */
export const CLIP_MODELS: ModelClasses = { FEATURE_EXTRACTION: CLIPModel }
/** The tower of texts by task. */
export const CLIP_TEXT_MODELS: ModelClasses = { FEATURE_EXTRACTION: CLIPTextModel }
/** The tower of images by task. */
export const CLIP_VISION_MODELS: ModelClasses = { FEATURE_EXTRACTION: CLIPVisionModel }
