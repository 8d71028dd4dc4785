/** @file GPT-NeoX (arXiv 2204.06745) and Pythia: attention and feed-forward network side by side. */
import type { Tensor } from '../../graph/index.ts'
import { Dropout, Embedding, getActivation, LayerNorm, Module, ModuleList, Residual } from '../../nn/index.ts'
import type { AttentionContext } from '../attention-context.ts'
import type { GPTNeoXConfig } from '../config.ts'
import { FusedAttention, FusedMLP } from '../decoder/fused.ts'
import {
  DecoderForCausalLM,
  DecoderForSequenceClassification,
  DecoderPreTrainedModel,
  runLayers,
} from '../decoder/index.ts'
import { embeddingInit } from '../init.ts'
import { embedTokens, type ModelInputs, type ModelOutput, type ModelTask, positionsOf } from '../inputs.ts'
import { renaming } from '../renaming.ts'
import { rotaryTable } from '../rope.ts'

/** Checkpoints keep the output layer's first name. */
const NAMES = renaming([['lm_head', 'embed_out']])

const IGNORED = [/\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)$/]

/** A layer of GPT-NeoX. */
export class GPTNeoXLayer extends Module {
  readonly isParallel: boolean
  input_layernorm: LayerNorm
  post_attention_layernorm: LayerNorm
  attention: FusedAttention
  mlp: FusedMLP
  dropout: Dropout
  attention_residual: Residual
  mlp_residual: Residual

  constructor(config: GPTNeoXConfig) {
    super()
    const { hidden_size: width, num_attention_heads: heads, layer_norm_eps: eps, initializer_range } = config
    this.isParallel = config.use_parallel_residual
    this.input_layernorm = new LayerNorm(width, { eps })
    this.post_attention_layernorm = new LayerNorm(width, { eps })
    this.attention = new FusedAttention({
      hidden_size: width,
      heads,
      kvHeads: heads,
      bias: config.attention_bias,
      dropout: config.attention_dropout,
      initializer_range,
    })
    const activation = getActivation(config.hidden_act)
    this.mlp = new FusedMLP(width, config.intermediate_size, activation, { bias: true, range: initializer_range })
    this.dropout = new Dropout(config.hidden_dropout)
    this.attention_residual = new Residual('attention', width)
    this.mlp_residual = new Residual('feedForward', width)
  }

  /** @param hidden `[batch, sequence, hidden]` @returns the same shape */
  forward(hidden: Tensor, context: AttentionContext): Tensor {
    const attention = this.dropout.forward(this.attention.forward(this.input_layernorm.forward(hidden), context))
    const attended = this.attention_residual.forward(attention, hidden)
    const read = this.post_attention_layernorm.forward(this.isParallel ? hidden : attended)
    return this.mlp_residual.forward(this.dropout.forward(this.mlp.forward(read)), attended)
  }
}

/** The bare decoder. */
export class GPTNeoXModel extends DecoderPreTrainedModel<GPTNeoXConfig> {
  static override readonly modelType: string = 'gpt_neox'

  embed_in: Embedding
  emb_dropout: Dropout
  layers: ModuleList<GPTNeoXLayer>
  final_layer_norm: LayerNorm

  constructor(config: GPTNeoXConfig) {
    super(config)
    const init = embeddingInit(config.initializer_range)
    this.embed_in = new Embedding(config.vocab_size, config.hidden_size, { init })
    this.emb_dropout = new Dropout(config.hidden_dropout)
    this.layers = new ModuleList(Array.from({ length: config.num_hidden_layers }, () => new GPTNeoXLayer(config)))
    this.final_layer_norm = new LayerNorm(config.hidden_size, { eps: config.layer_norm_eps })
  }

  override get baseModelPrefix(): string {
    return 'gpt_neox'
  }

  override get ignoredTensors(): readonly RegExp[] {
    return IGNORED
  }

  get task(): ModelTask {
    return 'FEATURE_EXTRACTION'
  }

  getInputEmbeddings(): Module {
    return this.embed_in
  }

  forward(inputs: ModelInputs): ModelOutput {
    const { config } = this
    const hidden = embedTokens(this.embed_in, inputs)
    const table = rotaryTable(positionsOf(inputs, hidden.shape[1]), {
      parameters: config.rope_parameters,
      width: config.hidden_size / config.num_attention_heads,
      maxPositions: config.max_position_embeddings,
      partial: true,
    })
    const states = runLayers(this.layers, this.emb_dropout.forward(hidden), inputs, { rotary: () => table })
    const last = this.final_layer_norm.forward(states.at(-1)!)
    return { last_hidden_state: last, hidden_states: [...states.slice(0, -1), last] }
  }
}

/** GPT-NeoX predicting the next token. */
export class GPTNeoXForCausalLM extends DecoderForCausalLM<GPTNeoXConfig> {
  static override readonly modelType: string = 'gpt_neox'

  override get baseModelPrefix(): string {
    return 'gpt_neox'
  }

  override get ignoredTensors(): readonly RegExp[] {
    return IGNORED
  }

  override currentName(name: string): string {
    return NAMES.toCurrent(name)
  }

  override checkpointName(name: string): string {
    return NAMES.toCheckpoint(name)
  }

  protected override createModel(config: GPTNeoXConfig): GPTNeoXModel {
    return new GPTNeoXModel(config)
  }
}

/** GPT-NeoX with a classifier over each sequence's last token. */
export class GPTNeoXForSequenceClassification extends DecoderForSequenceClassification<GPTNeoXConfig> {
  static override readonly modelType: string = 'gpt_neox'

  override get baseModelPrefix(): string {
    return 'gpt_neox'
  }

  override get ignoredTensors(): readonly RegExp[] {
    return IGNORED
  }

  protected override createModel(config: GPTNeoXConfig): GPTNeoXModel {
    return new GPTNeoXModel(config)
  }
}
