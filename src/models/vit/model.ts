/** @file ViT (arXiv 2010.11929): a transformer over the patches of an image. */
import { slice, squeeze, type Tensor } from '../../graph/index.ts'
import { type Activation, getActivation, LayerNorm, type Linear, Module, ModuleList } from '../../nn/index.ts'
import type { ViTConfig } from '../config.ts'
import { createLinear } from '../init.ts'
import type { ModelInputs, ModelOutput, ModelTask } from '../inputs.ts'
import { renaming } from '../renaming.ts'
import { classificationLoss } from '../sequence-classification.ts'
import { ViTEmbeddings } from './embeddings.ts'
import { ViTLayer } from './layer.ts'
import { requirePixels, VisionPreTrainedModel } from './pretrained.ts'

/** Checkpoints keep the first names; these are the modules of Transformers 5, by which adapters are saved. */
const NAMES = renaming([
  ['layers.#.attention.q_proj', 'encoder.layer.#.attention.attention.query'],
  ['layers.#.attention.k_proj', 'encoder.layer.#.attention.attention.key'],
  ['layers.#.attention.v_proj', 'encoder.layer.#.attention.attention.value'],
  ['layers.#.attention.o_proj', 'encoder.layer.#.attention.output.dense'],
  ['layers.#.mlp.fc1', 'encoder.layer.#.intermediate.dense'],
  ['layers.#.mlp.fc2', 'encoder.layer.#.output.dense'],
  ['layers.#', 'encoder.layer.#'],
])

/** What ViT's models have in common. */
export abstract class ViTPreTrainedModel extends VisionPreTrainedModel<ViTConfig> {
  static override readonly modelType: string = 'vit'

  override currentName(name: string): string {
    return NAMES.toCurrent(name)
  }

  override checkpointName(name: string): string {
    return NAMES.toCheckpoint(name)
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
  layers: ModuleList<ViTLayer>
  layernorm: LayerNorm
  pooler: ViTPooler | undefined

  constructor(config: ViTConfig, options: { pooler?: boolean } = {}) {
    super(config)
    this.embeddings = new ViTEmbeddings(config)
    this.layers = new ModuleList(Array.from({ length: config.num_hidden_layers }, () => new ViTLayer(config)))
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
    const states = [this.embeddings.forward(requirePixels(inputs))]
    for (const layer of this.layers) states.push(layer.forward(states.at(-1)!, { layer: states.length - 1 }))
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
