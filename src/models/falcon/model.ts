/** @file Falcon (arXiv 2311.16867): few heads of keys and values, attention and feed-forward network side by side. */
import type { Tensor } from '../../graph/index.ts'
import { Dropout, Embedding, getActivation, LayerNorm, Module, ModuleList, Residual } from '../../nn/index.ts'
import type { AttentionContext } from '../attention-context.ts'
import type { FalconConfig } from '../config.ts'
import { FusedAttention, FusedMLP } from '../decoder/fused.ts'
import {
  DecoderForCausalLM,
  DecoderForSequenceClassification,
  DecoderPreTrainedModel,
  runLayers,
} from '../decoder/index.ts'
import { embeddingInit } from '../init.ts'
import { embedTokens, type ModelInputs, type ModelOutput, type ModelTask, positionsOf } from '../inputs.ts'
import { rotaryTable } from '../rope.ts'

/** A layer of Falcon. Which normalisations it has depends on how its sublayers stand. */
export class FalconDecoderLayer extends Module {
  self_attention: FusedAttention
  mlp: FusedMLP
  input_layernorm: LayerNorm | undefined
  post_attention_layernorm: LayerNorm | undefined
  ln_attn: LayerNorm | undefined
  ln_mlp: LayerNorm | undefined
  dropout: Dropout
  attention_residual: Residual
  mlp_residual: Residual

  constructor(config: FalconConfig) {
    super()
    const { hidden_size: width, layer_norm_epsilon: eps, initializer_range, bias } = config
    this.self_attention = new FusedAttention({
      hidden_size: width,
      heads: config.num_attention_heads,
      kvHeads: config.num_key_value_heads,
      bias,
      dropout: config.attention_dropout,
      initializer_range,
    })
    const activation = getActivation(config.activation)
    this.mlp = new FusedMLP(width, config.ffn_hidden_size, activation, { bias, range: initializer_range })
    const hasTwo = config.parallel_attn && config.num_ln_in_parallel_attn === 2
    this.input_layernorm = hasTwo ? undefined : new LayerNorm(width, { eps })
    this.post_attention_layernorm = config.parallel_attn ? undefined : new LayerNorm(width, { eps })
    this.ln_attn = hasTwo ? new LayerNorm(width, { eps }) : undefined
    this.ln_mlp = hasTwo ? new LayerNorm(width, { eps }) : undefined
    this.dropout = new Dropout(config.hidden_dropout)
    this.attention_residual = new Residual('attention', width)
    this.mlp_residual = new Residual('feedForward', width)
  }

  /** @param hidden `[batch, sequence, hidden]` @returns the same shape */
  forward(hidden: Tensor, context: AttentionContext): Tensor {
    const before = (this.ln_attn ?? this.input_layernorm)!.forward(hidden)
    const attention = this.dropout.forward(this.self_attention.forward(before, context))
    const attended = this.attention_residual.forward(attention, hidden)
    const read = this.post_attention_layernorm?.forward(attended) ?? this.ln_mlp?.forward(hidden) ?? before
    return this.mlp_residual.forward(this.dropout.forward(this.mlp.forward(read)), attended)
  }
}

/** The bare decoder. */
export class FalconModel extends DecoderPreTrainedModel<FalconConfig> {
  static override readonly modelType: string = 'falcon'

  word_embeddings: Embedding
  h: ModuleList<FalconDecoderLayer>
  ln_f: LayerNorm

  constructor(config: FalconConfig) {
    super(config)
    const init = embeddingInit(config.initializer_range)
    this.word_embeddings = new Embedding(config.vocab_size, config.hidden_size, { init })
    this.h = new ModuleList(Array.from({ length: config.num_hidden_layers }, () => new FalconDecoderLayer(config)))
    this.ln_f = new LayerNorm(config.hidden_size, { eps: config.layer_norm_epsilon })
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

  forward(inputs: ModelInputs): ModelOutput {
    const { config } = this
    const hidden = embedTokens(this.word_embeddings, inputs)
    const table = rotaryTable(positionsOf(inputs, hidden.shape[1]), {
      parameters: config.rope_parameters,
      width: config.hidden_size / config.num_attention_heads,
      maxPositions: config.max_position_embeddings,
    })
    const states = runLayers(this.h, hidden, inputs, { rotary: () => table })
    const last = this.ln_f.forward(states.at(-1)!)
    return { last_hidden_state: last, hidden_states: [...states.slice(0, -1), last] }
  }
}

/** Falcon predicting the next token. */
export class FalconForCausalLM extends DecoderForCausalLM<FalconConfig> {
  static override readonly modelType: string = 'falcon'

  override get baseModelPrefix(): string {
    return 'transformer'
  }

  protected override createModel(config: FalconConfig): FalconModel {
    return new FalconModel(config)
  }
}

/** Falcon with a classifier over each sequence's last token. */
export class FalconForSequenceClassification extends DecoderForSequenceClassification<FalconConfig> {
  static override readonly modelType: string = 'falcon'

  override get baseModelPrefix(): string {
    return 'transformer'
  }

  protected override createModel(config: FalconConfig): FalconModel {
    return new FalconModel(config)
  }
}
