/** @file One layer of ModernBERT: normalisations in front, rotary positions, a gated feed-forward network. */
import { type Dim, mul, reshape, slice, type Tensor, transpose } from '../../graph/index.ts'
import {
  type Activation,
  Dropout,
  getActivation,
  LayerNorm,
  Linear,
  Module,
  mergeHeads,
  Residual,
  truncatedNormalInit,
  zerosInit,
} from '../../nn/index.ts'
import { type AttentionContext, AttentionModule, cachedAttention } from '../attention-context.ts'
import type { ModernBertConfig } from '../config.ts'
import { applyRotary } from '../rope.ts'

/** A dense layer with ModernBERT's first values. */
export function createDense(
  config: ModernBertConfig,
  input: number,
  output: number,
  options: { bias: boolean; deviation?: number },
): Linear {
  const { initializer_range, initializer_cutoff_factor: cutoff } = config
  const init = truncatedNormalInit(options.deviation ?? initializer_range, cutoff)
  return new Linear(input, output, { bias: options.bias, init, biasInit: zerosInit })
}

/** The deviation of the first values of layers whose results are added to the residual stream. */
export function outputDeviation({ initializer_range, num_hidden_layers }: ModernBertConfig): number {
  return initializer_range / Math.sqrt(2 * num_hidden_layers)
}

/** A normalisation of hidden states. */
export function createNorm({ hidden_size, norm_eps: eps, norm_bias: bias }: ModernBertConfig): LayerNorm {
  return new LayerNorm(hidden_size, { eps, bias })
}

/** ModernBERT's attention. */
export class ModernBertAttention extends AttentionModule {
  readonly numHeads: number
  readonly attentionDropout: number
  Wqkv: Linear
  Wo: Linear
  out_drop: Dropout

  constructor(config: ModernBertConfig) {
    const { hidden_size: width, num_attention_heads: heads, attention_bias: bias } = config
    super({ role: 'encoder', numKeyValueHeads: heads, headWidth: width / heads })
    this.numHeads = heads
    this.attentionDropout = config.attention_dropout
    this.Wqkv = createDense(config, width, 3 * width, { bias })
    this.Wo = createDense(config, width, width, { bias, deviation: outputDeviation(config) })
    this.out_drop = new Dropout(config.attention_dropout)
  }

  /** @param hidden `[batch, sequence, hidden]` @returns the same shape */
  forward(hidden: Tensor, context: AttentionContext): Tensor {
    const [batch, sequence] = hidden.shape as [Dim, Dim]
    const fused = reshape(this.Wqkv.forward(hidden), [batch, sequence, 3, this.numHeads, this.headWidth])
    const [query, key, value] = [0, 1, 2].map(i => {
      const part = reshape(slice(fused, 2, i, i + 1), [batch, sequence, this.numHeads, this.headWidth])
      return transpose(part, [0, 2, 1, 3])
    })
    const turn = (x: Tensor) => (context.rotary ? applyRotary(x, context.rotary) : x)
    const options = { dropout: this.attentionDropout }
    const attended = cachedAttention(turn(query), turn(key), value, context, options)
    return this.out_drop.forward(this.Wo.forward(mergeHeads(attended)))
  }
}

/** The gated feed-forward network (arXiv 2002.05202), both halves in one projection. */
export class ModernBertMLP extends Module {
  readonly activation: Activation
  readonly inner: number
  Wi: Linear
  drop: Dropout
  Wo: Linear

  constructor(config: ModernBertConfig) {
    super()
    const { hidden_size: width, intermediate_size: inner, mlp_bias: bias } = config
    this.activation = getActivation(config.hidden_activation)
    this.inner = inner
    this.Wi = createDense(config, width, 2 * inner, { bias })
    this.drop = new Dropout(config.mlp_dropout)
    this.Wo = createDense(config, inner, width, { bias, deviation: outputDeviation(config) })
  }

  forward(hidden: Tensor): Tensor {
    const both = this.Wi.forward(hidden)
    const gated = mul(this.activation(slice(both, -1, 0, this.inner)), slice(both, -1, this.inner))
    return this.Wo.forward(this.drop.forward(gated))
  }
}

/** A layer of ModernBERT. */
export class ModernBertEncoderLayer extends Module {
  /** The first layer has none: the embeddings are normalised. */
  attn_norm: LayerNorm | undefined
  attn: ModernBertAttention
  mlp_norm: LayerNorm
  mlp: ModernBertMLP
  attention_residual: Residual
  mlp_residual: Residual

  constructor(config: ModernBertConfig, index: number) {
    super()
    this.attn_norm = index === 0 ? undefined : createNorm(config)
    this.attn = new ModernBertAttention(config)
    this.mlp_norm = createNorm(config)
    this.mlp = new ModernBertMLP(config)
    this.attention_residual = new Residual('attention', config.hidden_size)
    this.mlp_residual = new Residual('feedForward', config.hidden_size)
  }

  /** @param hidden `[batch, sequence, hidden]` @returns the same shape */
  forward(hidden: Tensor, context: AttentionContext): Tensor {
    const attention = this.attn.forward(this.attn_norm?.forward(hidden) ?? hidden, context)
    const attended = this.attention_residual.forward(attention, hidden)
    return this.mlp_residual.forward(this.mlp.forward(this.mlp_norm.forward(attended)), attended)
  }
}
