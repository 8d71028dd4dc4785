/** @file The side network: its rungs, one for each layer of the model, and its top. */
import { add, dropout, gelu, mul, type Operand, sigmoid, stopGradient, sub, type Tensor } from '../../../graph/index.ts'
import type { AttentionContext } from '../../../models/attention-context.ts'
import { BertLayer } from '../../../models/bert/layer.ts'
import { LayerNorm, Linear, Module, normalInit, Parameter, zerosInit } from '../../../nn/index.ts'
import type { LstConfig } from './config.ts'
import type { LadderPlaces } from './places.ts'

const RANGE = 0.02

/** The sizes of a side network. */
export interface SideSizes {
  /** The width of the model. */
  model: number
  /** The width of the side network. */
  side: number
  heads: number
  inner: number
}

const greatestDivisor = (a: number, b: number): number => (b === 0 ? a : greatestDivisor(b, a % b))

/**
 * The sizes of the side network of a model.
 *
 * @throws where its width cannot be divided by the heads that were asked for
 */
export function sideSizes({ reductionFactor, sideHeads }: LstConfig, { width, heads, inner }: LadderPlaces): SideSizes {
  const side = Math.max(1, Math.floor(width / reductionFactor))
  if (sideHeads !== null && side % sideHeads) {
    throw new Error(
      `LST: the side network has a width of ${side} (${width} / ${reductionFactor}), which cannot be divided by sideHeads ${sideHeads}; take a divisor`,
    )
  }
  return {
    model: width,
    side,
    heads: sideHeads ?? greatestDivisor(side, heads),
    inner: Math.max(1, Math.floor(inner / reductionFactor)),
  }
}

const dense = (from: number, to: number, init = normalInit(RANGE)) =>
  new Linear(from, to, { init, biasInit: zerosInit })

/** A feed-forward network with a normalisation in front and a residual connection, on each position by itself. */
class FeedForwardBlock extends Module {
  readonly dropout: number
  norm: LayerNorm
  up: Linear
  down: Linear

  constructor({ side, inner }: SideSizes, p: number) {
    super()
    this.dropout = p
    this.norm = new LayerNorm(side)
    this.up = dense(side, inner)
    this.down = dense(inner, side)
  }

  forward(x: Tensor): Tensor {
    return add(x, dropout(this.down.forward(gelu(this.up.forward(this.norm.forward(x)))), this.dropout))
  }
}

function transformerBlock({ side, heads, inner }: SideSizes, p: number): BertLayer {
  return new BertLayer({
    hidden_size: side,
    num_attention_heads: heads,
    intermediate_size: inner,
    hidden_act: 'gelu',
    hidden_dropout_prob: p,
    attention_probs_dropout_prob: p,
    initializer_range: RANGE,
    layer_norm_eps: 1e-12,
  })
}

/** `s' = Side(μ s + (1 - μ) D(h))` with `μ = sigmoid(α / T)`, h the layer's result, through which no gradient flows. */
export class Rung extends Module {
  readonly temperature: number
  down: Linear
  /** α, `[1]` */
  gate = new Parameter([1], { init: zerosInit })
  block: FeedForwardBlock | BertLayer
  /** Makes the ladder's first state of the embeddings: at the lowest rung only. */
  down_embeddings: Linear | undefined

  constructor(config: LstConfig, sizes: SideSizes, isLowest: boolean) {
    super()
    this.temperature = config.temperature
    this.down = dense(sizes.model, sizes.side)
    this.block =
      config.sideBlock === 'transformer'
        ? transformerBlock(sizes, config.dropout)
        : new FeedForwardBlock(sizes, config.dropout)
    this.down_embeddings = isLowest ? dense(sizes.model, sizes.side) : undefined
  }

  /**
   * @param before the state of the rung below, `[batch, sequence, side]`; none where that layer is skipped
   * @param input what enters the model's layer, `[batch, sequence, hidden]`
   * @param output what comes out of it
   * @param context what the layer itself was given: the mask
   */
  forward(before: Tensor | undefined, input: Tensor, output: Tensor, context: AttentionContext): Tensor {
    const mu = sigmoid(mul(this.gate, 1 / this.temperature))
    const own = mul(sub(1 as Operand, mu), this.down.forward(stopGradient(output)))
    const below = this.down_embeddings ? this.down_embeddings.forward(stopGradient(input)) : before
    const state = below ? add(mul(mu, below), own) : own
    if (!(this.block instanceof BertLayer)) return this.block.forward(state)
    if (context.cache) {
      throw new Error(
        'LST: side blocks of the kind "transformer" have no keys in the cache, so that nothing can be generated with them; train with sideBlock "feed_forward"',
      )
    }
    return this.block.forward(state, { layer: 0, mask: context.mask })
  }
}

/** The way from the side network back to the width of the model. */
export class LadderTop extends Module {
  readonly replaces: boolean
  norm: LayerNorm
  up: Linear

  constructor({ output }: LstConfig, sizes: SideSizes) {
    super()
    this.replaces = output === 'replace'
    this.norm = new LayerNorm(sizes.side)
    this.up = dense(sizes.side, sizes.model, this.replaces ? normalInit(RANGE) : zerosInit)
  }

  /** @param state the side network's last state @param hidden the model's last hidden state */
  forward(state: Tensor, hidden: Tensor): Tensor {
    const result = this.up.forward(this.norm.forward(state))
    return this.replaces ? result : add(hidden, result)
  }
}
