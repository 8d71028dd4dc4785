/** @file What vision transformers have in common: images in, names of checkpoints. */
import type { Tensor } from '../../graph/index.ts'
import type { PatchFields } from '../config/vision.ts'
import type { InputSpec, ModelInputs } from '../inputs.ts'
import { labelSpecs, type ModelConfig, PreTrainedModel } from '../pretrained-model.ts'

/** A configuration of a vision transformer. */
export interface VisionConfig extends ModelConfig, PatchFields {}

/** What models of images have in common. */
export abstract class VisionPreTrainedModel<C extends VisionConfig> extends PreTrainedModel<C> {
  get baseModelPrefix(): string {
    return (this.constructor as typeof PreTrainedModel).modelType
  }

  get ignoredTensors(): readonly RegExp[] {
    return [/(^|\.)embeddings\.mask_token$/]
  }

  override inputSpecs(): Record<string, InputSpec> {
    const { num_channels, image_size } = this.config
    return {
      pixel_values: { dtype: 'float32', shape: ['batch', num_channels, ...image_size] },
      ...labelSpecs(this.task),
    }
  }
}

/** The images among the inputs. Throws where there are none. */
export function requirePixels({ pixel_values }: ModelInputs): Tensor {
  if (!pixel_values) {
    throw new Error('forward: got no pixel_values; a model of images expects them, [batch, channels, height, width]')
  }
  return pixel_values
}
