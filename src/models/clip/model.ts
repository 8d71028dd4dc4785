/** @file CLIP (arXiv 2103.00020): a tower of texts and one of images, compared by the angle between their results. */
import {
  add,
  crossEntropy,
  div,
  exp,
  matmul,
  mul,
  range,
  sqrt,
  sum,
  type Tensor,
  transpose,
} from '../../graph/index.ts'
import { constantInit, type Linear, type Module, Parameter } from '../../nn/index.ts'
import type { CLIPConfig } from '../config.ts'
import { createLinear } from '../init.ts'
import type { InputSpec, ModelInputs, ModelOutput, ModelTask } from '../inputs.ts'
import { PreTrainedModel } from '../pretrained-model.ts'
import { CLIPTextModel } from './text.ts'
import { CLIPVisionModel } from './vision.ts'

/** Rows of length 1. */
function normalized(x: Tensor): Tensor {
  return div(x, sqrt(sum(mul(x, x), [1], true)))
}

/** How well each text is told from the others by its image, and each image by its text. */
function contrastiveLoss(similarity: Tensor): Tensor {
  const own = range(similarity.graph, similarity.shape[0])
  return mul(add(crossEntropy(similarity, own), crossEntropy(transpose(similarity), own)), 0.5)
}

/**
 * Both towers. Where there are as many texts as images they are taken for pairs, and there is a loss; by other numbers
 * of them every text is compared with every image.
 */
export class CLIPModel extends PreTrainedModel<CLIPConfig> {
  static override readonly modelType: string = 'clip'

  text_model: CLIPTextModel
  vision_model: CLIPVisionModel
  visual_projection: Linear
  text_projection: Linear
  /** The logarithm of the factor on the similarities, a scalar. */
  logit_scale: Parameter

  constructor(config: CLIPConfig) {
    super(config)
    const { text_config, vision_config, projection_dim, initializer_factor: factor } = config
    const project = (width: number) => createLinear(width, projection_dim, factor / Math.sqrt(width), false)
    this.text_model = new CLIPTextModel(text_config)
    this.vision_model = new CLIPVisionModel(vision_config)
    this.visual_projection = project(vision_config.hidden_size)
    this.text_projection = project(text_config.hidden_size)
    this.logit_scale = new Parameter([], { init: constantInit(config.logit_scale_init_value) })
  }

  get baseModelPrefix(): string {
    return 'clip'
  }

  get ignoredTensors(): readonly RegExp[] {
    return [/(^|\.)embeddings\.position_ids$/]
  }

  get task(): ModelTask {
    return 'FEATURE_EXTRACTION'
  }

  getInputEmbeddings(): Module {
    return this.text_model.getInputEmbeddings()
  }

  override inputSpecs(): Record<string, InputSpec> {
    const { input_ids, attention_mask, position_ids } = this.text_model.inputSpecs()
    return { input_ids, attention_mask, position_ids, ...this.vision_model.inputSpecs() }
  }

  /** What texts are compared by, of length 1: `[texts, projection]`. Throws where there are no tokens. */
  textEmbeds(inputs: ModelInputs): Tensor {
    const { pooler_output } = this.text_model.forward(inputs)
    if (!pooler_output) {
      throw new Error('forward: got no input_ids; CLIP finds the end of each text by them, [batch, sequence]')
    }
    return normalized(this.text_projection.forward(pooler_output))
  }

  /** What images are compared by, of length 1: `[images, projection]`. */
  imageEmbeds(inputs: ModelInputs): Tensor {
    return normalized(this.visual_projection.forward(this.vision_model.forward(inputs).pooler_output!))
  }

  forward(inputs: ModelInputs): ModelOutput {
    const image_embeds = this.imageEmbeds(inputs)
    const text_embeds = this.textEmbeds(inputs)
    const scale = exp(this.logit_scale.trace(text_embeds.graph))
    const logits_per_text = mul(matmul(text_embeds, image_embeds, { transB: true }), scale)
    const [texts, images] = logits_per_text.shape
    return {
      logits_per_text,
      logits_per_image: transpose(logits_per_text),
      text_embeds,
      image_embeds,
      ...(texts === images && { loss: contrastiveLoss(logits_per_text) }),
    }
  }
}
