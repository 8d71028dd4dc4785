/** @file What a model hands to every attention layer of one forward pass. */
import type { Tensor } from '../graph/index.ts'
import { type AttentionOptions, attention, type KeyValueCache } from '../nn/index.ts'
import type { RotaryTable } from './rope.ts'

/** Made once a forward pass, so that masks and tables are not computed in every layer. */
export interface AttentionContext {
  /** The position of the layer in the model: which entry of the cache is its own. */
  layer: number
  /** Additive, broadcast to `[batch, heads, queries, past + keys]`. */
  mask?: Tensor
  /** The angles of the positions, for models with rotary embeddings. */
  rotary?: RotaryTable
  cache?: KeyValueCache
}

/** {@link attention} behind the cache's past keys and values; the new ones are left in the cache. */
export function cachedAttention(
  query: Tensor,
  key: Tensor,
  value: Tensor,
  context: AttentionContext,
  options: Pick<AttentionOptions, 'scale' | 'dropout'>,
): Tensor {
  const past = context.cache?.past[context.layer]
  context.cache?.present.push({ key, value })
  return attention(query, key, value, { ...options, mask: context.mask, past })
}
