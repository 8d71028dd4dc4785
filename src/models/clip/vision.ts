/** @file CLIP's tower of images: ViT with a normalisation before the layers. */
import { add, concat, expand, range, type Tensor, unsqueeze } from '../../graph/index.ts'
import { Embedding, LayerNorm, Module, normalInit, Parameter } from '../../nn/index.ts'
import { firstToken } from '../bert/model.ts'
import type { CLIPVisionConfig } from '../config.ts'
import type { ModelInputs, ModelOutput, ModelTask } from '../inputs.ts'
import { checkImageSize, PatchProjection, patchCount } from '../vit/embeddings.ts'
import { requirePixels, VisionPreTrainedModel } from '../vit/pretrained.ts'
import { CLIPEncoder } from './layer.ts'

/** The first layer: patches, a token for the whole image, learned positions. */
export class CLIPVisionEmbeddings extends Module {
  readonly config: CLIPVisionConfig
  class_embedding: Parameter
  patch_embedding: PatchProjection
  position_embedding: Embedding

  constructor(config: CLIPVisionConfig) {
    super()
    const { hidden_size: width, initializer_factor: factor, initializer_range: range } = config
    this.config = config
    this.class_embedding = new Parameter([width], { init: normalInit(factor / Math.sqrt(width)) })
    this.patch_embedding = new PatchProjection({ ...config, initializer_range: range * factor }, { bias: false })
    this.position_embedding = new Embedding(patchCount(config) + 1, width, { init: normalInit(range * factor) })
  }

  /** @param pixels `[batch, channels, height, width]` @returns `[batch, 1 + patches, hidden]` */
  forward(pixels: Tensor): Tensor {
    checkImageSize(pixels, this.config)
    const { graph } = pixels
    const patches = this.patch_embedding.forward(pixels)
    const [batch, , width] = patches.shape
    const first = expand(unsqueeze(this.class_embedding.trace(graph), [0, 1]), [batch, 1, width])
    const positions = this.position_embedding.forward(range(graph, this.position_embedding.numEmbeddings))
    return add(concat([first, patches], 1), positions)
  }
}

/** The tower of images. Its pooled output is the normalised state of the token that stands for the whole image. */
export class CLIPVisionModel extends VisionPreTrainedModel<CLIPVisionConfig> {
  static override readonly modelType: string = 'clip_vision_model'

  embeddings: CLIPVisionEmbeddings
  /** The name has this spelling in all checkpoints. */
  pre_layrnorm: LayerNorm
  encoder: CLIPEncoder
  post_layernorm: LayerNorm

  constructor(config: CLIPVisionConfig) {
    super(config)
    const { hidden_size: width, layer_norm_eps: eps } = config
    this.embeddings = new CLIPVisionEmbeddings(config)
    this.pre_layrnorm = new LayerNorm(width, { eps })
    this.encoder = new CLIPEncoder(config)
    this.post_layernorm = new LayerNorm(width, { eps })
  }

  override get baseModelPrefix(): string {
    return 'vision_model'
  }

  /** Positions that old checkpoints list, and what a checkpoint of a whole CLIP holds beside this tower. */
  override get ignoredTensors(): readonly RegExp[] {
    return [/(^|\.)embeddings\.position_ids$/, /^(text_model\.|visual_projection\.|text_projection\.|logit_scale$)/]
  }

  get task(): ModelTask {
    return 'FEATURE_EXTRACTION'
  }

  getInputEmbeddings(): Module {
    return this.embeddings.patch_embedding
  }

  forward(inputs: ModelInputs): ModelOutput {
    const embedded = this.embeddings.forward(requirePixels(inputs))
    const states = this.encoder.forward(this.pre_layrnorm.forward(embedded), {})
    const last = states.at(-1)!
    return {
      last_hidden_state: last,
      pooler_output: this.post_layernorm.forward(firstToken(last)),
      hidden_states: states,
    }
  }
}
