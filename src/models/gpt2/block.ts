/** @file One block of GPT-2: normalisation before attention and before the feed-forward network. */
import { split, type Tensor } from '../../graph/index.ts'
import {
  type Activation,
  Conv1D,
  Dropout,
  getActivation,
  LayerNorm,
  Module,
  mergeHeads,
  normalInit,
  Residual,
  splitHeads,
} from '../../nn/index.ts'
import { type AttentionContext, AttentionModule, cachedAttention } from '../attention-context.ts'
import type { Gpt2Config } from '../config.ts'

/** A dense layer with GPT-2's first values: normal with the given deviation. */
function createConv1D(output: number, input: number, deviation: number): Conv1D {
  const layer = new Conv1D(output, input)
  layer.weight.init = normalInit(deviation)
  return layer
}

/** The deviation of the layers that write to the residual stream, smaller the deeper the model. */
function residualDeviation(config: Gpt2Config): number {
  return config.initializer_range / Math.sqrt(2 * config.n_layer)
}

/** GPT-2's attention, with queries, keys and values in one projection. */
export class GPT2Attention extends AttentionModule {
  readonly numHeads: number
  readonly attentionDropout: number
  readonly scaleByWidth: boolean
  readonly scaleByLayer: boolean
  c_attn: Conv1D
  c_proj: Conv1D
  resid_dropout: Dropout

  constructor(config: Gpt2Config) {
    const { n_embd: width, n_head: heads, initializer_range: range } = config
    super({ role: 'decoder', numKeyValueHeads: heads, headWidth: width / heads })
    this.numHeads = heads
    this.attentionDropout = config.attn_pdrop
    this.scaleByWidth = config.scale_attn_weights
    this.scaleByLayer = config.scale_attn_by_inverse_layer_idx
    this.c_attn = createConv1D(3 * width, width, range)
    this.c_proj = createConv1D(width, width, residualDeviation(config))
    this.resid_dropout = new Dropout(config.resid_pdrop)
  }

  /** @param hidden `[batch, sequence, hidden]` @returns the same shape */
  forward(hidden: Tensor, context: AttentionContext): Tensor {
    const width = hidden.shape[2]
    const parts = split(this.c_attn.forward(hidden), [width, width, width], 2)
    const [query, key, value] = parts.map(part => splitHeads(part, this.numHeads))
    const byWidth = this.scaleByWidth ? 1 / Math.sqrt(query.shape[3] as number) : 1
    const scale = this.scaleByLayer ? byWidth / (context.layer + 1) : byWidth
    const result = cachedAttention(query, key, value, context, { scale, dropout: this.attentionDropout })
    return this.resid_dropout.forward(this.c_proj.forward(mergeHeads(result)))
  }
}

/** GPT-2's feed-forward network. */
export class GPT2MLP extends Module {
  readonly activation: Activation
  c_fc: Conv1D
  c_proj: Conv1D
  dropout: Dropout

  constructor(config: Gpt2Config) {
    super()
    const inner = config.n_inner ?? 4 * config.n_embd
    this.activation = getActivation(config.activation_function)
    this.c_fc = createConv1D(inner, config.n_embd, config.initializer_range)
    this.c_proj = createConv1D(config.n_embd, inner, residualDeviation(config))
    this.dropout = new Dropout(config.resid_pdrop)
  }

  forward(hidden: Tensor): Tensor {
    return this.dropout.forward(this.c_proj.forward(this.activation(this.c_fc.forward(hidden))))
  }
}

/** A block of GPT-2. */
export class GPT2Block extends Module {
  ln_1: LayerNorm
  attn: GPT2Attention
  ln_2: LayerNorm
  mlp: GPT2MLP
  attention_residual: Residual
  mlp_residual: Residual

  constructor(config: Gpt2Config) {
    super()
    this.ln_1 = new LayerNorm(config.n_embd, { eps: config.layer_norm_epsilon })
    this.attn = new GPT2Attention(config)
    this.ln_2 = new LayerNorm(config.n_embd, { eps: config.layer_norm_epsilon })
    this.mlp = new GPT2MLP(config)
    this.attention_residual = new Residual('attention', config.n_embd)
    this.mlp_residual = new Residual('feedForward', config.n_embd)
  }

  /** @param hidden `[batch, sequence, hidden]` @returns the same shape */
  forward(hidden: Tensor, context: AttentionContext): Tensor {
    const attended = this.attention_residual.forward(this.attn.forward(this.ln_1.forward(hidden), context), hidden)
    return this.mlp_residual.forward(this.mlp.forward(this.ln_2.forward(attended)), attended)
  }
}
