/** @file T5's attention: unscaled scores, with a bias for the distance between query and key within one sequence. */
import { addDims, type Tensor } from '../../graph/index.ts'
import { Embedding, type Linear, mergeHeads, normalInit, splitHeads } from '../../nn/index.ts'
import {
  type AttentionContext,
  AttentionModule,
  type AttentionRole,
  cachedAttention,
  crossAttention,
} from '../attention-context.ts'
import type { T5FamilyConfig } from '../config.ts'
import { createLinear } from '../init.ts'
import type { RelativeBias } from './relative-bias.ts'

/** What a T5 hands to its attention layers. */
export interface T5AttentionContext extends AttentionContext {
  /** The bias within one sequence; there is none in cross-attention. */
  relativeBias?: RelativeBias
}

/** An attention layer of T5, in any role. */
export class T5Attention extends AttentionModule {
  readonly numHeads: number
  readonly dropout: number
  q: Linear
  k: Linear
  v: Linear
  o: Linear
  /** The table of biases, in the first layer of a stack. */
  relative_attention_bias: Embedding | undefined

  constructor(config: T5FamilyConfig, role: AttentionRole, hasRelativeBias: boolean) {
    const { d_model: width, d_kv: head, num_heads: heads, initializer_factor: factor } = config
    super({ role, numKeyValueHeads: heads, headWidth: head })
    const inner = heads * head
    this.numHeads = heads
    this.dropout = config.dropout_rate
    this.q = createLinear(width, inner, factor / Math.sqrt(width * head), false)
    this.k = createLinear(width, inner, factor / Math.sqrt(width), false)
    this.v = createLinear(width, inner, factor / Math.sqrt(width), false)
    this.o = createLinear(inner, width, factor / Math.sqrt(inner), false)
    this.relative_attention_bias = hasRelativeBias
      ? new Embedding(config.relative_attention_num_buckets, heads, { init: normalInit(factor / Math.sqrt(width)) })
      : undefined
  }

  /** @param hidden `[batch, sequence, hidden]` @returns the same shape */
  forward(hidden: Tensor, context: T5AttentionContext): Tensor {
    const query = splitHeads(this.q.forward(hidden), this.numHeads)
    return this.o.forward(mergeHeads(this.attend(query, hidden, context)))
  }

  private attend(query: Tensor, hidden: Tensor, context: T5AttentionContext): Tensor {
    const options = { scale: 1, dropout: this.dropout }
    const project = (x: Tensor) => ({
      key: splitHeads(this.k.forward(x), this.numHeads),
      value: splitHeads(this.v.forward(x), this.numHeads),
    })
    if (this.role === 'cross') return crossAttention(query, project, context, options)
    const { relativeBias, prefixes = [] } = context
    if (prefixes.some(({ mask }) => mask)) {
      throw new Error(
        'T5 counts distances from the front of a prefix, so that the rows of a batch cannot have prefixes of different lengths; give them one prefixLength, or name the adapter of each row (adapter_indices)',
      )
    }
    if (relativeBias && this.relative_attention_bias) relativeBias.table = this.relative_attention_bias
    const bias = relativeBias?.behind(addDims(...prefixes.map(prefix => prefix.key.shape[2])))
    const { key, value } = project(hidden)
    return cachedAttention(query, key, value, context, { ...options, bias })
  }
}
