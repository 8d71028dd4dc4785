/** @file ViT (arXiv 2010.11929): a transformer over the patches of an image. */
import { slice, squeeze, type Tensor } from '../../graph/index.ts'
import { type Activation, getActivation, LayerNorm, type Linear, Module, ModuleList } from '../../nn/index.ts'
import type { ViTConfig } from '../config.ts'
import { createLinear } from '../init.ts'
import type { ModelInputs, ModelOutput, ModelTask } from '../inputs.ts'
import { classificationLoss } from '../sequence-classification.ts'
import { ViTEmbeddings } from './embeddings.ts'
import { ViTLayer } from './layer.ts'
import { requirePixels, VisionPreTrainedModel } from './pretrained.ts'

/** How Transformers 5 names the modules in memory, and the names in checkpoints, which are the names here. */
const RENAMED: readonly (readonly [RegExp, string])[] = [
  [/\blayers\.(\d+)\.attention\.q_proj\b/, 'encoder.layer.$1.attention.attention.query'],
  [/\blayers\.(\d+)\.attention\.k_proj\b/, 'encoder.layer.$1.attention.attention.key'],
  [/\blayers\.(\d+)\.attention\.v_proj\b/, 'encoder.layer.$1.attention.attention.value'],
  [/\blayers\.(\d+)\.attention\.o_proj\b/, 'encoder.layer.$1.attention.output.dense'],
  [/\blayers\.(\d+)\.mlp\.fc1\b/, 'encoder.layer.$1.intermediate.dense'],
  [/\blayers\.(\d+)\.mlp\.fc2\b/, 'encoder.layer.$1.output.dense'],
  [/\blayers\.(\d+)\./, 'encoder.layer.$1.'],
]

/** What ViT's models have in common. */
export abstract class ViTPreTrainedModel extends VisionPreTrainedModel<ViTConfig> {
  static override readonly modelType: string = 'vit'

  override currentName(name: string): string {
    return RENAMED.reduce((renamed, [pattern, replacement]) => renamed.replace(pattern, replacement), name)
  }
}

/** ViT's layers in a row. */
export class ViTEncoder extends Module {
  layer: ModuleList<ViTLayer>

  constructor(config: ViTConfig) {
    super()
    this.layer = new ModuleList(Array.from({ length: config.num_hidden_layers }, () => new ViTLayer(config)))
  }

  /** @returns the input, then each layer's output */
  forward(hidden: Tensor): Tensor[] {
    const states = [hidden]
    for (const layer of this.layer) states.push(layer.forward(states.at(-1)!, { layer: states.length - 1 }))
    return states
  }
}

/** A dense layer over the token that stands for the whole image. */
export class ViTPooler extends Module {
  readonly activation: Activation
  dense: Linear

  constructor(config: ViTConfig) {
    super()
    this.activation = getActivation(config.pooler_act)
    this.dense = createLinear(config.hidden_size, config.pooler_output_size, config.initializer_range)
  }

  /** @param hidden `[batch, tokens, hidden]` @returns `[batch, pooled]` */
  forward(hidden: Tensor): Tensor {
    return this.activation(this.dense.forward(squeeze(slice(hidden, 1, 0, 1), [1])))
  }
}

/** The bare encoder, with a pooler unless a head needs none. */
export class ViTModel extends ViTPreTrainedModel {
  embeddings: ViTEmbeddings
  encoder: ViTEncoder
  layernorm: LayerNorm
  pooler: ViTPooler | undefined

  constructor(config: ViTConfig, options: { pooler?: boolean } = {}) {
    super(config)
    this.embeddings = new ViTEmbeddings(config)
    this.encoder = new ViTEncoder(config)
    this.layernorm = new LayerNorm(config.hidden_size, { eps: config.layer_norm_eps })
    this.pooler = options.pooler === false ? undefined : new ViTPooler(config)
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
    return { last_hidden_state: last, pooler_output: this.pooler?.forward(last), hidden_states: states }
  }
}

/** ViT with a classifier of images. */
export class ViTForImageClassification extends ViTPreTrainedModel {
  vit: ViTModel
  classifier: Linear

  constructor(config: ViTConfig) {
    super(config)
    this.vit = new ViTModel(config, { pooler: false })
    this.classifier = createLinear(config.hidden_size, config.num_labels, config.initializer_range)
  }

  override get ignoredTensors(): readonly RegExp[] {
    return [...super.ignoredTensors, /(^|\.)pooler\./]
  }

  get task(): ModelTask {
    return 'IMAGE_CLS'
  }

  getInputEmbeddings(): Module {
    return this.vit.getInputEmbeddings()
  }

  forward(inputs: ModelInputs): ModelOutput {
    const output = this.vit.forward(inputs)
    const logits = this.classifier.forward(squeeze(slice(output.last_hidden_state!, 1, 0, 1), [1]))
    return { ...output, logits, loss: classificationLoss(logits, inputs.labels, this.config) }
  }
}
