/** @file What a model hands to every attention layer of one forward pass, and what an attention layer is. */
import { add, addDims, concat, type Dim, expand, type Tensor } from '../graph/index.ts'
import { type AttentionOptions, attention, type KeyValueCache, type KeyValues, Module } from '../nn/index.ts'
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
  /** The encoder's result, which cross-attention reads, `[batch, source, hidden]`; absent where the cache replaces it. */
  source?: Tensor
  /**
   * Keys and values that every query sees in front of all others, `[batch, kvHeads, length, width]`: learned prefixes. They
   * have no positions and never enter the cache, and the model's mask does not reach them.
   */
  prefixes?: readonly Prefix[]
}

/** Keys and values in front of all others. */
export interface Prefix extends KeyValues {
  /** Additive, `[batch, 1, 1, length]`: hides what only fills rows whose prefix is shorter than that of others. */
  mask?: Tensor
}

/** What an attention layer attends to: the tokens of its own sequence, or those of an encoder. */
export type AttentionRole = 'encoder' | 'decoder' | 'cross'

/**
 * An attention layer of a model. Methods that give it further keys and values take its place and pass them on in the
 * context.
 */
export abstract class AttentionModule extends Module {
  readonly role: AttentionRole
  /** How many heads its keys and values have. */
  readonly numKeyValueHeads: number
  /** The width of one head. */
  readonly headWidth: number

  constructor(options: { role: AttentionRole; numKeyValueHeads: number; headWidth: number }) {
    super()
    this.role = options.role
    this.numKeyValueHeads = options.numKeyValueHeads
    this.headWidth = options.headWidth
  }

  /** @param hidden `[batch, sequence, hidden]` @returns the same shape, for models with one width */
  abstract override forward(hidden: Tensor, context: AttentionContext, ...others: unknown[]): Tensor
}

/** What an architecture decides about its attention. */
export interface ContextAttentionOptions extends Pick<AttentionOptions, 'scale' | 'softcap' | 'dropout'> {
  /** Added to the scores of prefixes, past and new keys, broadcast to `[batch, heads, queries, all keys]`. */
  bias?: Tensor
}

/** {@link attention} behind the cache's past keys and values; the new ones are left in the cache. */
export function cachedAttention(
  query: Tensor,
  key: Tensor,
  value: Tensor,
  context: AttentionContext,
  { bias, ...options }: ContextAttentionOptions,
): Tensor {
  const cached = context.cache?.past[context.layer]
  context.cache?.present.push({ key, value })
  const prefixes = context.prefixes ?? []
  const past = cached ? [...prefixes, cached] : prefixes
  const mask = maskWith(prefixes, context.mask, addDims(cached?.key.shape[2] ?? 0, key.shape[2]))
  return attention(query, key, value, { ...options, mask: bias && mask ? add(bias, mask) : (bias ?? mask), past })
}

/**
 * {@link attention} to the encoder's positions. Their keys and values are those of the cache where it has them, else
 * `project` makes them of the encoder's result and they are left in the cache.
 */
export function crossAttention(
  query: Tensor,
  project: (source: Tensor) => KeyValues,
  context: AttentionContext,
  options: Omit<ContextAttentionOptions, 'bias'>,
): Tensor {
  const { cache, source, prefixes = [] } = context
  let encoded = cache?.cross[context.layer]
  if (!encoded) {
    if (!source) {
      throw new Error('cross-attention: there is neither a result of the encoder nor a cache of it; give one of them')
    }
    encoded = project(source)
    cache?.presentCross.push(encoded)
  }
  const mask = maskWith(prefixes, context.mask, encoded.key.shape[2])
  return attention(query, encoded.key, encoded.value, { ...options, mask, past: prefixes })
}

/** The mask with columns of zeros for the prefixes, which are always seen. */
export function maskBehind(prefixes: readonly KeyValues[], mask: Tensor | undefined): Tensor | undefined {
  if (!mask || prefixes.length === 0) return mask
  const length = addDims(...prefixes.map(({ key }) => key.shape[2]))
  const shape: Dim[] = [...mask.shape.slice(0, -1), length]
  return concat([expand(mask.graph.constant(0, 'float32', [1, 1, 1, 1]), shape), mask], 3)
}

/** The mask of prefixes and of the `keys` positions behind them. */
function maskWith(prefixes: readonly Prefix[], mask: Tensor | undefined, keys: Dim): Tensor | undefined {
  const own = prefixes.find(prefix => prefix.mask)?.mask
  if (!own) return maskBehind(prefixes, mask)
  const [heads, queries] = mask ? mask.shape.slice(1) : [1, 1]
  const seen = own.graph.constant(0, 'float32', [1, 1, 1, 1])
  const columns = (part: Tensor = seen, length: Dim) => expand(part, [own.shape[0], heads, queries, length])
  return concat([...prefixes.map(prefix => columns(prefix.mask, prefix.key.shape[2])), columns(mask, keys)], 3)
}
