/** @file Qwen3's attention: Llama's, with each head of queries and keys normalised. */
import type { Tensor } from '../../graph/index.ts'
import { RMSNorm } from '../../nn/index.ts'
import type { Projections } from '../decoder/attention.ts'
import { LlamaAttention, type LlamaFamilyConfig, type LlamaLayerOptions } from '../llama/layer.ts'

/** Attention whose heads are normalised before they are turned. */
export class Qwen3Attention extends LlamaAttention {
  q_norm: RMSNorm
  k_norm: RMSNorm

  constructor(config: LlamaFamilyConfig, options: LlamaLayerOptions) {
    super(config, options)
    this.q_norm = new RMSNorm(config.head_dim, { eps: config.rms_norm_eps })
    this.k_norm = new RMSNorm(config.head_dim, { eps: config.rms_norm_eps })
  }

  protected override project(hidden: Tensor): Projections {
    const { query, key, value } = super.project(hidden)
    return { query: this.q_norm.forward(query), key: this.k_norm.forward(key), value }
  }
}
