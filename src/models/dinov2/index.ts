/** @file DINOv2 (arXiv 2304.07193): ViT with a factor on each sublayer's result. */
import { concat, mean, slice, type Tensor } from '../../graph/index.ts'
import { LayerNorm, type Linear, Module, ModuleList, Parameter, zerosInit } from '../../nn/index.ts'
import { firstToken } from '../bert/model.ts'
import type { Dinov2Config } from '../config.ts'
import { createLinear } from '../init.ts'
import type { ModelInputs, ModelOutput, ModelTask } from '../inputs.ts'
import type { ModelClasses } from '../registry.ts'
import { renaming } from '../renaming.ts'
import { classificationLoss } from '../sequence-classification.ts'
import { ViTEmbeddings } from '../vit/embeddings.ts'
import { requirePixels, VisionPreTrainedModel } from '../vit/pretrained.ts'
import { Dinov2Layer } from './layer.ts'

/** Checkpoints keep the first names; these are the modules of Transformers 5, by which adapters are saved. */
const NAMES = renaming([
  ['attention.q_proj', 'attention.attention.query'],
  ['attention.k_proj', 'attention.attention.key'],
  ['attention.v_proj', 'attention.attention.value'],
  ['attention.o_proj', 'attention.output.dense'],
])

/** What DINOv2's models have in common. */
abstract class Dinov2PreTrainedModel extends VisionPreTrainedModel<Dinov2Config> {
  static override readonly modelType: string = 'dinov2'

  override get ignoredTensors(): readonly RegExp[] {
    return this.config.use_mask_token ? [] : super.ignoredTensors
  }

  override currentName(name: string): string {
    return NAMES.toCurrent(name)
  }

  override checkpointName(name: string): string {
    return NAMES.toCheckpoint(name)
  }
}

/** ViT's first layer, with the embedding of hidden patches that pretraining used. */
class Dinov2Embeddings extends ViTEmbeddings {
  mask_token: Parameter | undefined

  constructor(config: Dinov2Config) {
    super(config)
    this.mask_token = config.use_mask_token ? new Parameter([1, config.hidden_size], { init: zerosInit }) : undefined
  }
}

/** DINOv2's layers in a row. */
class Dinov2Encoder extends Module {
  layer: ModuleList<Dinov2Layer>

  constructor(config: Dinov2Config) {
    super()
    this.layer = new ModuleList(Array.from({ length: config.num_hidden_layers }, () => new Dinov2Layer(config)))
  }

  /** @returns the input, then each layer's output */
  forward(hidden: Tensor): Tensor[] {
    const states = [hidden]
    for (const layer of this.layer) states.push(layer.forward(states.at(-1)!, { layer: states.length - 1 }))
    return states
  }
}

/** The bare encoder; the pooled output is the token that stands for the whole image. */
export class Dinov2Model extends Dinov2PreTrainedModel {
  embeddings: Dinov2Embeddings
  encoder: Dinov2Encoder
  layernorm: LayerNorm

  constructor(config: Dinov2Config) {
    super(config)
    this.embeddings = new Dinov2Embeddings(config)
    this.encoder = new Dinov2Encoder(config)
    this.layernorm = new LayerNorm(config.hidden_size, { eps: config.layer_norm_eps })
  }

  get task(): ModelTask {
    return 'FEATURE_EXTRACTION'
  }

  getInputEmbeddings(): Module {
    return this.embeddings.patch_embeddings
  }

  forward(inputs: ModelInputs): ModelOutput {
    const states = this.encoder.forward(this.embeddings.forward(requirePixels(inputs)))
    const last = this.layernorm.forward(states.at(-1)!)
    return { last_hidden_state: last, pooler_output: firstToken(last), hidden_states: states }
  }
}

/** DINOv2 with a classifier over the first token and the mean of the others. */
export class Dinov2ForImageClassification extends Dinov2PreTrainedModel {
  dinov2: Dinov2Model
  classifier: Linear

  constructor(config: Dinov2Config) {
    super(config)
    this.dinov2 = new Dinov2Model(config)
    this.classifier = createLinear(2 * config.hidden_size, config.num_labels, config.initializer_range)
  }

  get task(): ModelTask {
    return 'IMAGE_CLS'
  }

  getInputEmbeddings(): Module {
    return this.dinov2.getInputEmbeddings()
  }

  forward(inputs: ModelInputs): ModelOutput {
    const output = this.dinov2.forward(inputs)
    const patches = mean(slice(output.last_hidden_state!, 1, 1), [1])
    const logits = this.classifier.forward(concat([output.pooler_output!, patches], 1))
    return { ...output, logits, loss: classificationLoss(logits, inputs.labels, this.config) }
  }
}

/** DINOv2's models by task. */
export const DINOV2_MODELS: ModelClasses = {
  FEATURE_EXTRACTION: Dinov2Model,
  IMAGE_CLS: Dinov2ForImageClassification,
}
