/** @file Disentangled attention (arXiv 2006.03654): content and distance score each other by vectors of their own. */
import { add, concat, gatherElements, matmul, mul, type Tensor, unsqueeze } from '../../graph/index.ts'
import { Dropout, type Linear, Module, mergeHeads, splitHeads } from '../../nn/index.ts'
import { type AttentionContext, AttentionModule, cachedAttention, maskBehind } from '../attention-context.ts'
import { BertOutput } from '../bert/layer.ts'
import type { DebertaV2Config } from '../config.ts'
import { createLinear } from '../init.ts'
import type { RelativePositions } from './relative-position.ts'

/** What a DeBERTa hands to its attention layers. */
export interface DebertaV2AttentionContext extends AttentionContext {
  /** The embeddings of distances, `[distances, hidden]`, and which pair of tokens has which; absent without them. */
  relative?: { embeddings: Tensor; positions: RelativePositions }
  /** 1 where a token stands and 0 where there is padding, `[batch, 1, queries, 1]`; absent where nothing is padded. */
  tokens?: Tensor
}

/** Queries, keys and values of DeBERTa's attention, and the attention itself. */
export class DisentangledSelfAttention extends AttentionModule {
  readonly numHeads: number
  readonly attentionDropout: number
  /** The factor on the scores; content and each term that there is count alike. */
  readonly scale: number
  readonly terms: DebertaV2Config['pos_att_type']
  query_proj: Linear
  key_proj: Linear
  value_proj: Linear
  /** Where distances are not projected by `key_proj`. */
  pos_key_proj: Linear | undefined
  /** Where distances are not projected by `query_proj`. */
  pos_query_proj: Linear | undefined
  pos_dropout: Dropout

  constructor(config: DebertaV2Config) {
    const { hidden_size: width, initializer_range: range, num_attention_heads: heads } = config
    super({ role: 'encoder', numKeyValueHeads: heads, headWidth: width / heads })
    const project = () => createLinear(width, width, range)
    const { pos_att_type: terms, relative_attention, share_att_key } = config
    this.numHeads = heads
    this.attentionDropout = config.attention_probs_dropout_prob
    this.terms = terms
    this.scale = 1 / Math.sqrt(this.headWidth * (1 + new Set(terms).size))
    this.query_proj = project()
    this.key_proj = project()
    this.value_proj = project()
    const own = relative_attention && !share_att_key
    this.pos_key_proj = own && terms.includes('c2p') ? project() : undefined
    this.pos_query_proj = own && terms.includes('p2c') ? project() : undefined
    this.pos_dropout = new Dropout(config.hidden_dropout_prob)
  }

  /** @param hidden `[batch, sequence, hidden]` @returns the same shape */
  forward(hidden: Tensor, context: DebertaV2AttentionContext): Tensor {
    const { tokens } = context
    const projected = splitHeads(this.query_proj.forward(hidden), this.numHeads)
    // Padding sees everything alike, whatever its scores were: they must not have a gradient.
    const query = tokens ? mul(projected, tokens) : projected
    const key = splitHeads(this.key_proj.forward(hidden), this.numHeads)
    const value = splitHeads(this.value_proj.forward(hidden), this.numHeads)
    // Prefixes have no positions, so that distances to them count for nothing.
    const bias = maskBehind(context.prefixes ?? [], this.distanceScores(query, key, context))
    const options = { scale: this.scale, dropout: this.attentionDropout, bias }
    return mergeHeads(cachedAttention(query, key, value, context, options))
  }

  /** What distances add to the scores, `[batch, heads, queries, past + queries]`. */
  private distanceScores(query: Tensor, key: Tensor, context: DebertaV2AttentionContext): Tensor | undefined {
    const { relative, cache, layer, tokens } = context
    if (!relative || this.terms.length === 0) return undefined
    const distances = unsqueeze(this.pos_dropout.forward(relative.embeddings), [0])
    const rows = relative.positions.expanded(query.shape[0], this.numHeads)
    const scores: Tensor[] = []
    if (this.terms.includes('c2p')) {
      const keys = splitHeads((this.pos_key_proj ?? this.key_proj).forward(distances), this.numHeads)
      scores.push(gatherElements(matmul(query, keys, { transB: true, alpha: this.scale }), rows, 3))
    }
    if (this.terms.includes('p2c')) {
      const queries = splitHeads((this.pos_query_proj ?? this.query_proj).forward(distances), this.numHeads)
      const earlier = cache?.past[layer]
      const keys = earlier ? concat([earlier.key, key], 2) : key
      const term = gatherElements(matmul(queries, keys, { transB: true, alpha: this.scale }), rows, 2)
      scores.push(tokens ? mul(term, tokens) : term)
    }
    return scores.reduce((sum, term) => add(sum, term))
  }
}

/** DeBERTa's attention with its output layer. */
export class DebertaV2Attention extends Module {
  self: DisentangledSelfAttention
  output: BertOutput

  constructor(config: DebertaV2Config) {
    super()
    this.self = new DisentangledSelfAttention(config)
    this.output = new BertOutput(config, config.hidden_size, 'attention')
  }

  forward(hidden: Tensor, context: DebertaV2AttentionContext): Tensor {
    return this.output.forward(this.self.forward(hidden, context), hidden)
  }
}
