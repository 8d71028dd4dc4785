/** @file One layer of Phi-3: Llama's, with fused projections. */
import { mul, slice, split, type Tensor } from '../../graph/index.ts'
import { type Activation, Dropout, getActivation, type Linear, Module, splitHeads } from '../../nn/index.ts'
import type { Phi3Config } from '../config.ts'
import { DecoderAttention, type Projections } from '../decoder/attention.ts'
import { createLinear } from '../init.ts'
import { type FeedForward, LlamaDecoderLayer } from '../llama/layer.ts'

/** Phi-3's attention, with queries, keys and values in one projection. */
export class Phi3Attention extends DecoderAttention {
  o_proj: Linear
  qkv_proj: Linear
  dropout: Dropout

  constructor(config: Phi3Config) {
    const { hidden_size: hidden, head_dim: width, initializer_range: range } = config
    super({
      numHeads: config.num_attention_heads,
      numKeyValueHeads: config.num_key_value_heads,
      headWidth: width,
      dropout: config.attention_dropout,
    })
    this.o_proj = createLinear(this.numHeads * width, hidden, range, false)
    this.qkv_proj = createLinear(hidden, (this.numHeads + 2 * this.numKeyValueHeads) * width, range, false)
    this.dropout = new Dropout(config.resid_pdrop)
  }

  protected project(hidden: Tensor): Projections {
    const { numHeads, numKeyValueHeads, headWidth } = this
    const sizes = [numHeads, numKeyValueHeads, numKeyValueHeads].map(heads => heads * headWidth)
    const [query, key, value] = split(this.qkv_proj.forward(hidden), sizes, 2)
    return {
      query: splitHeads(query, numHeads),
      key: splitHeads(key, numKeyValueHeads),
      value: splitHeads(value, numKeyValueHeads),
    }
  }

  protected combine(heads: Tensor): Tensor {
    return this.dropout.forward(this.o_proj.forward(heads))
  }
}

/** Phi-3's gated feed-forward network, with gate and gated in one projection. */
export class Phi3MLP extends Module {
  readonly activation: Activation
  readonly inner: number
  gate_up_proj: Linear
  down_proj: Linear
  dropout: Dropout

  constructor(config: Phi3Config) {
    super()
    const { hidden_size: hidden, intermediate_size: inner, initializer_range: range } = config
    this.activation = getActivation(config.hidden_act)
    this.inner = inner
    this.gate_up_proj = createLinear(hidden, 2 * inner, range, false)
    this.down_proj = createLinear(inner, hidden, range, false)
    this.dropout = new Dropout(config.resid_pdrop)
  }

  forward(hidden: Tensor): Tensor {
    const both = this.gate_up_proj.forward(hidden)
    const gated = mul(this.activation(slice(both, 2, 0, this.inner)), slice(both, 2, this.inner))
    return this.dropout.forward(this.down_proj.forward(gated))
  }
}

/** A layer of Phi-3. */
export class Phi3DecoderLayer extends LlamaDecoderLayer<Phi3Config> {
  protected override createAttention(config: Phi3Config): DecoderAttention {
    return new Phi3Attention(config)
  }

  protected override createMLP(config: Phi3Config): FeedForward {
    return new Phi3MLP(config)
  }
}
