/** @file The layers of a decoder in a row: masks and tables once, the cache entry by entry. */
import {
  add,
  addDims,
  cumulativeSum,
  type Dim,
  type Graph,
  greater,
  minimum,
  range,
  slice,
  sub,
  type Tensor,
  unsqueeze,
} from '../../graph/index.ts'
import { additiveMask, type Module } from '../../nn/index.ts'
import type { AttentionContext } from '../attention-context.ts'
import type { ModelInputs } from '../inputs.ts'
import type { RotaryTable } from '../rope.ts'
import { decoderMask } from './mask.ts'

/** A layer of a decoder. */
export interface DecoderLayer extends Module {
  /** How many positions back a query sees, its own included; all by default. */
  readonly window?: number
  /** @param hidden `[batch, sequence, hidden]` @returns the same shape */
  forward(hidden: Tensor, context: AttentionContext): Tensor
}

/** What the layers of a decoder know of positions. */
export interface PositionOptions {
  /** The angles that a layer turns queries and keys by; none where it gives undefined. */
  rotary?: (layer: number) => RotaryTable | undefined
  /** Added to the scores, broadcast to `[batch, heads, queries, past + queries]`. */
  bias?: Tensor
}

/** Runs `layers` one after another. @returns the input, then each layer's output */
export function runLayers(
  layers: Iterable<DecoderLayer>,
  hidden: Tensor,
  inputs: ModelInputs,
  { rotary, bias }: PositionOptions = {},
): Tensor[] {
  const { graph } = hidden
  const { attention_mask, cache } = inputs
  const sequence = hidden.shape[1]
  const past = cache?.length ?? 0
  const causal = decoderMask(graph, sequence, inputs)
  const full = bias ? add(causal, bias) : causal
  const masks = new Map<number | undefined, Tensor>([[undefined, full]])
  const states = [hidden]
  for (const layer of layers) {
    const { window } = layer
    if (!masks.has(window))
      masks.set(window, minimum(full, windowMask(graph, sequence, past, window!, cache && attention_mask)))
    const index = states.length - 1
    states.push(layer.forward(states[index], { layer: index, mask: masks.get(window), rotary: rotary?.(index), cache }))
  }
  return states
}

/**
 * Hides the keys that lie `window` positions back or more; additive, `[batch or 1, 1, queries, past + queries]`.
 *
 * @param attentionMask of a sequence with a cache, int64 `[batch, past + queries]`: what it hides are no positions, since
 *   caches hold places that are not used
 */
function windowMask(graph: Graph, queries: Dim, past: Dim, window: number, attentionMask?: Tensor): Tensor {
  const total = addDims(past, queries)
  const positions = attentionMask ? cumulativeSum(attentionMask, 1) : unsqueeze(range(graph, total), [0])
  const oldest = sub(unsqueeze(slice(positions, 1, past, total), [2]), window)
  return additiveMask(unsqueeze(greater(unsqueeze(positions, [1]), oldest), [1]))
}
