/** @file ALBERT (arXiv 1909.11942): BERT whose layers share their parameters, with narrower embeddings. */
import { type Tensor, tanh } from '../../graph/index.ts'
import {
  type Activation,
  Dropout,
  getActivation,
  LayerNorm,
  type Linear,
  Module,
  ModuleList,
  paddingMask,
  Residual,
} from '../../nn/index.ts'
import type { AttentionContext } from '../attention-context.ts'
import { BertEmbeddings } from '../bert/embeddings.ts'
import { BertSelfAttention } from '../bert/layer.ts'
import { firstToken } from '../bert/model.ts'
import type { AlbertConfig } from '../config.ts'
import { EncoderPreTrainedModel } from '../encoder/index.ts'
import { createLinear } from '../init.ts'
import type { ModelInputs, ModelOutput, ModelTask } from '../inputs.ts'

/** BERT's attention with its output layer and normalisation in one module. */
export class AlbertAttention extends BertSelfAttention {
  dense: Linear
  LayerNorm: LayerNorm
  dropout: Dropout
  residual: Residual

  constructor(config: AlbertConfig) {
    super(config)
    this.dense = createLinear(config.hidden_size, config.hidden_size, config.initializer_range)
    this.LayerNorm = new LayerNorm(config.hidden_size, { eps: config.layer_norm_eps })
    this.dropout = new Dropout(config.hidden_dropout_prob)
    this.residual = new Residual('attention', config.hidden_size)
  }

  override forward(hidden: Tensor, context: AttentionContext): Tensor {
    const result = this.dropout.forward(this.dense.forward(super.forward(hidden, context)))
    return this.residual.forward(result, hidden, this.LayerNorm)
  }
}

/** A layer of ALBERT. */
export class AlbertLayer extends Module {
  readonly activation: Activation
  full_layer_layer_norm: LayerNorm
  attention: AlbertAttention
  ffn: Linear
  ffn_output: Linear
  mlp_residual: Residual

  constructor(config: AlbertConfig) {
    super()
    const { hidden_size: width, intermediate_size: inner, initializer_range: range } = config
    this.activation = getActivation(config.hidden_act)
    this.full_layer_layer_norm = new LayerNorm(width, { eps: config.layer_norm_eps })
    this.attention = new AlbertAttention(config)
    this.ffn = createLinear(width, inner, range)
    this.ffn_output = createLinear(inner, width, range)
    this.mlp_residual = new Residual('feedForward', width)
  }

  /** @param hidden `[batch, sequence, hidden]` @returns the same shape */
  forward(hidden: Tensor, context: AttentionContext): Tensor {
    const attended = this.attention.forward(hidden, context)
    const inner = this.ffn_output.forward(this.activation(this.ffn.forward(attended)))
    return this.mlp_residual.forward(inner, attended, this.full_layer_layer_norm)
  }
}

/** Layers that stand in several places of the model. */
export class AlbertLayerGroup extends Module {
  albert_layers: ModuleList<AlbertLayer>

  constructor(config: AlbertConfig) {
    super()
    this.albert_layers = new ModuleList(Array.from({ length: config.inner_group_num }, () => new AlbertLayer(config)))
  }

  /** @param context its `layer` is the first of the group's @returns each layer's output */
  forward(hidden: Tensor, context: AttentionContext): Tensor[] {
    const states = [hidden]
    for (const inner of this.albert_layers) {
      states.push(inner.forward(states.at(-1)!, { ...context, layer: context.layer + states.length - 1 }))
    }
    return states.slice(1)
  }
}

/** ALBERT's layers in a row, the same ones again and again. */
export class AlbertTransformer extends Module {
  readonly layers: number
  embedding_hidden_mapping_in: Linear
  albert_layer_groups: ModuleList<AlbertLayerGroup>

  constructor(config: AlbertConfig) {
    super()
    this.layers = config.num_hidden_layers
    this.embedding_hidden_mapping_in = createLinear(config.embedding_size, config.hidden_size, config.initializer_range)
    const groups = Array.from({ length: config.num_hidden_groups }, () => new AlbertLayerGroup(config))
    this.albert_layer_groups = new ModuleList(groups)
  }

  /** @returns the projected input, then each layer's output */
  forward(embedded: Tensor, { attention_mask, cache }: ModelInputs): Tensor[] {
    const mask = attention_mask && paddingMask(attention_mask)
    const groups = [...this.albert_layer_groups]
    const states = [this.embedding_hidden_mapping_in.forward(embedded)]
    for (let i = 0; i < this.layers; i++) {
      const group = groups[Math.floor((i * groups.length) / this.layers)]
      states.push(...group.forward(states.at(-1)!, { layer: states.length - 1, mask, cache }))
    }
    return states
  }
}

/** The bare encoder, with a pooler unless a head needs none. */
export class AlbertModel extends EncoderPreTrainedModel<AlbertConfig> {
  static override readonly modelType: string = 'albert'

  embeddings: BertEmbeddings
  encoder: AlbertTransformer
  pooler: Linear | undefined

  constructor(config: AlbertConfig, options: { pooler?: boolean } = {}) {
    super(config)
    const { hidden_size: width, initializer_range } = config
    this.embeddings = new BertEmbeddings(config, config.embedding_size)
    this.encoder = new AlbertTransformer(config)
    this.pooler = options.pooler === false ? undefined : createLinear(width, width, initializer_range)
  }

  get task(): ModelTask {
    return 'FEATURE_EXTRACTION'
  }

  getInputEmbeddings(): Module {
    return this.embeddings.word_embeddings
  }

  forward(inputs: ModelInputs): ModelOutput {
    const embedded = this.embeddings.forward(inputs, inputs.cache?.length ?? 0)
    const states = this.encoder.forward(embedded, inputs)
    const last = states.at(-1)!
    const pooled = this.pooler && tanh(this.pooler.forward(firstToken(last)))
    return { last_hidden_state: last, pooler_output: pooled, hidden_states: states }
  }
}
