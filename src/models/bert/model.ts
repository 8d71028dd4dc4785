/** @file BERT (arXiv 1810.04805): the encoder with its pooler. */
import { slice, squeeze, type Tensor, tanh } from '../../graph/index.ts'
import { type Linear, Module, ModuleList, paddingMask } from '../../nn/index.ts'
import type { BertConfig } from '../config.ts'
import { createLinear } from '../init.ts'
import type { InputSpec, ModelInputs, ModelOutput, ModelTask } from '../inputs.ts'
import { PreTrainedModel } from '../pretrained-model.ts'
import { BertEmbeddings } from './embeddings.ts'
import { BertLayer } from './layer.ts'

const IGNORED = [/(^|\.)embeddings\.position_ids$/]

/** What BERT's models have in common. */
export abstract class BertPreTrainedModel extends PreTrainedModel<BertConfig> {
  static override readonly modelType: string = 'bert'

  constructor(config: BertConfig) {
    super(config)
    for (const key of ['is_decoder', 'add_cross_attention'] as const) {
      if (config[key]) {
        throw new Error(`${config.label}: "${key}" is true; BERT is computed as an encoder only, expected false`)
      }
    }
  }

  get baseModelPrefix(): string {
    return 'bert'
  }

  get ignoredTensors(): readonly RegExp[] {
    return IGNORED
  }

  /** TensorFlow's names of the normalisation's parameters, which the first checkpoints kept. */
  override currentName(name: string): string {
    return name.replace(/\bLayerNorm\.gamma$/, 'LayerNorm.weight').replace(/\bLayerNorm\.beta$/, 'LayerNorm.bias')
  }

  override inputSpecs(): Record<string, InputSpec> {
    return { ...super.inputSpecs(), token_type_ids: { dtype: 'int64', shape: ['batch', 'sequence'], optional: true } }
  }
}

/** BERT's layers in a row. */
export class BertEncoder extends Module {
  layer: ModuleList<BertLayer>

  constructor(config: BertConfig) {
    super()
    this.layer = new ModuleList(Array.from({ length: config.num_hidden_layers }, () => new BertLayer(config)))
  }

  /** @returns the input, then each layer's output */
  forward(hidden: Tensor, { attention_mask, cache }: ModelInputs): Tensor[] {
    const mask = attention_mask && paddingMask(attention_mask)
    const states = [hidden]
    for (const layer of this.layer)
      states.push(layer.forward(states.at(-1)!, { layer: states.length - 1, mask, cache }))
    return states
  }
}

/** A dense layer over the first token of each sequence. */
export class BertPooler extends Module {
  dense: Linear

  constructor(config: BertConfig) {
    super()
    this.dense = createLinear(config.hidden_size, config.hidden_size, config.initializer_range)
  }

  /** @param hidden `[batch, sequence, hidden]` @returns `[batch, hidden]` */
  forward(hidden: Tensor): Tensor {
    // A slice, which the optimiser moves down into the last layer: its other tokens are not computed then.
    return tanh(this.dense.forward(squeeze(slice(hidden, 1, 0, 1), [1])))
  }
}

/** The bare encoder. */
export class BertModel extends BertPreTrainedModel {
  embeddings: BertEmbeddings
  encoder: BertEncoder
  pooler: BertPooler

  constructor(config: BertConfig) {
    super(config)
    this.embeddings = new BertEmbeddings(config)
    this.encoder = new BertEncoder(config)
    this.pooler = new BertPooler(config)
  }

  get task(): ModelTask {
    return 'FEATURE_EXTRACTION'
  }

  getInputEmbeddings(): Module {
    return this.embeddings.word_embeddings
  }

  forward(inputs: ModelInputs): ModelOutput {
    const states = this.encoder.forward(this.embeddings.forward(inputs, inputs.cache?.length ?? 0), inputs)
    const last = states.at(-1)!
    return { last_hidden_state: last, pooler_output: this.pooler.forward(last), hidden_states: states }
  }
}
