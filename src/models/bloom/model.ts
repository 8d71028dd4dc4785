/** @file BLOOM (arXiv 2211.05100): a decoder whose scores fall with the distance, without positions. */
import { addDims, type Tensor } from '../../graph/index.ts'
import { Dropout, Embedding, getActivation, LayerNorm, Module, ModuleList, Residual } from '../../nn/index.ts'
import type { AttentionContext } from '../attention-context.ts'
import type { BloomConfig } from '../config.ts'
import { alibiBias } from '../decoder/alibi.ts'
import { FusedAttention, FusedMLP } from '../decoder/fused.ts'
import {
  DecoderForCausalLM,
  DecoderForSequenceClassification,
  DecoderPreTrainedModel,
  runLayers,
} from '../decoder/index.ts'
import { embeddingInit } from '../init.ts'
import { embedTokens, type InputSpec, type ModelInputs, type ModelOutput, type ModelTask } from '../inputs.ts'

/** A layer of BLOOM. */
export class BloomBlock extends Module {
  readonly addsToNormalized: boolean
  input_layernorm: LayerNorm
  self_attention: FusedAttention
  post_attention_layernorm: LayerNorm
  mlp: FusedMLP
  dropout: Dropout
  attention_residual: Residual
  mlp_residual: Residual

  constructor(config: BloomConfig) {
    super()
    const { hidden_size: width, n_head: heads, layer_norm_epsilon: eps, initializer_range } = config
    this.addsToNormalized = config.apply_residual_connection_post_layernorm
    this.input_layernorm = new LayerNorm(width, { eps })
    this.self_attention = new FusedAttention({
      hidden_size: width,
      heads,
      kvHeads: heads,
      bias: true,
      dropout: config.attention_dropout,
      initializer_range,
    })
    this.post_attention_layernorm = new LayerNorm(width, { eps })
    const activation = getActivation('gelu_pytorch_tanh')
    this.mlp = new FusedMLP(width, 4 * width, activation, { bias: true, range: initializer_range })
    this.dropout = new Dropout(config.hidden_dropout)
    this.attention_residual = new Residual('attention', width)
    this.mlp_residual = new Residual('feedForward', width)
  }

  /** @param hidden `[batch, sequence, hidden]` @returns the same shape */
  forward(hidden: Tensor, context: AttentionContext): Tensor {
    const before = this.input_layernorm.forward(hidden)
    const attention = this.dropout.forward(this.self_attention.forward(before, context))
    const attended = this.attention_residual.forward(attention, this.addsToNormalized ? before : hidden)
    const after = this.post_attention_layernorm.forward(attended)
    const inner = this.dropout.forward(this.mlp.forward(after))
    return this.mlp_residual.forward(inner, this.addsToNormalized ? after : attended)
  }
}

/** The inputs without positions, which the model does not know. */
function withoutPositions({ position_ids: _, ...specs }: Record<string, InputSpec>): Record<string, InputSpec> {
  return specs
}

/** The bare decoder. */
export class BloomModel extends DecoderPreTrainedModel<BloomConfig> {
  static override readonly modelType: string = 'bloom'

  word_embeddings: Embedding
  word_embeddings_layernorm: LayerNorm
  h: ModuleList<BloomBlock>
  ln_f: LayerNorm

  constructor(config: BloomConfig) {
    super(config)
    const { hidden_size: width, layer_norm_epsilon: eps } = config
    const init = embeddingInit(config.initializer_range)
    this.word_embeddings = new Embedding(config.vocab_size, width, { init })
    this.word_embeddings_layernorm = new LayerNorm(width, { eps })
    this.h = new ModuleList(Array.from({ length: config.n_layer }, () => new BloomBlock(config)))
    this.ln_f = new LayerNorm(width, { eps })
  }

  override get baseModelPrefix(): string {
    return 'transformer'
  }

  get task(): ModelTask {
    return 'FEATURE_EXTRACTION'
  }

  getInputEmbeddings(): Module {
    return this.word_embeddings
  }

  override inputSpecs(): Record<string, InputSpec> {
    return withoutPositions(super.inputSpecs())
  }

  forward(inputs: ModelInputs): ModelOutput {
    const hidden = this.word_embeddings_layernorm.forward(embedTokens(this.word_embeddings, inputs))
    const total = addDims(inputs.cache?.length ?? 0, hidden.shape[1])
    const bias = alibiBias(hidden.graph, this.config.n_head, total, inputs.attention_mask)
    const states = runLayers(this.h, hidden, inputs, { bias })
    const last = this.ln_f.forward(states.at(-1)!)
    return { last_hidden_state: last, hidden_states: [...states.slice(0, -1), last] }
  }
}

/** BLOOM predicting the next token. */
export class BloomForCausalLM extends DecoderForCausalLM<BloomConfig> {
  static override readonly modelType: string = 'bloom'

  override get baseModelPrefix(): string {
    return 'transformer'
  }

  override inputSpecs(): Record<string, InputSpec> {
    return withoutPositions(super.inputSpecs())
  }

  protected override createModel(config: BloomConfig): BloomModel {
    return new BloomModel(config)
  }
}

/** BLOOM with a classifier over each sequence's last token. */
export class BloomForSequenceClassification extends DecoderForSequenceClassification<BloomConfig> {
  static override readonly modelType: string = 'bloom'

  override get baseModelPrefix(): string {
    return 'transformer'
  }

  override inputSpecs(): Record<string, InputSpec> {
    return withoutPositions(super.inputSpecs())
  }

  protected override createModel(config: BloomConfig): BloomModel {
    return new BloomModel(config)
  }
}
