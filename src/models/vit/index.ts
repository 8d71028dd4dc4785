/** @file ViT. */
import type { ModelClasses } from '../registry.ts'
import { ViTForImageClassification, ViTModel } from './model.ts'

export { ViTForImageClassification, ViTModel }

/** ViT's models by task. */
export const VIT_MODELS: ModelClasses = { FEATURE_EXTRACTION: ViTModel, IMAGE_CLS: ViTForImageClassification }
