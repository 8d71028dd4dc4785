/** @file One layer of DINOv2: ViT's, with a factor on each sublayer's result. */
import { mul, silu, slice, type Tensor } from '../../graph/index.ts'
import { constantInit, LayerNorm, type Linear, Module, Parameter, Residual } from '../../nn/index.ts'
import type { AttentionContext } from '../attention-context.ts'
import type { Dinov2Config } from '../config.ts'
import { createLinear } from '../init.ts'
import { ViTAttention, ViTMLP } from '../vit/layer.ts'

/** A factor for each coordinate (arXiv 2103.17239). */
export class Dinov2LayerScale extends Module {
  lambda1: Parameter

  constructor(config: Dinov2Config) {
    super()
    this.lambda1 = new Parameter([config.hidden_size], { init: constantInit(config.layerscale_value) })
  }

  forward(x: Tensor): Tensor {
    return mul(x, this.lambda1)
  }
}

/** A gated feed-forward network of two thirds of the width, with gate and gated in one layer. */
export class Dinov2SwiGLUFFN extends Module {
  readonly inner: number
  weights_in: Linear
  weights_out: Linear

  constructor(config: Dinov2Config) {
    super()
    const { hidden_size: width, intermediate_size, initializer_range: range } = config
    this.inner = Math.floor((Math.trunc((intermediate_size * 2) / 3) + 7) / 8) * 8
    this.weights_in = createLinear(width, 2 * this.inner, range)
    this.weights_out = createLinear(this.inner, width, range)
  }

  forward(hidden: Tensor): Tensor {
    const both = this.weights_in.forward(hidden)
    return this.weights_out.forward(mul(silu(slice(both, 2, 0, this.inner)), slice(both, 2, this.inner)))
  }
}

/** A layer of DINOv2. */
export class Dinov2Layer extends Module {
  norm1: LayerNorm
  attention: ViTAttention
  layer_scale1: Dinov2LayerScale
  norm2: LayerNorm
  mlp: ViTMLP | Dinov2SwiGLUFFN
  layer_scale2: Dinov2LayerScale
  attention_residual: Residual
  mlp_residual: Residual

  constructor(config: Dinov2Config) {
    super()
    const { hidden_size: width, layer_norm_eps: eps } = config
    this.norm1 = new LayerNorm(width, { eps })
    this.attention = new ViTAttention(config)
    this.layer_scale1 = new Dinov2LayerScale(config)
    this.norm2 = new LayerNorm(width, { eps })
    this.mlp = config.use_swiglu_ffn ? new Dinov2SwiGLUFFN(config) : new ViTMLP(config)
    this.layer_scale2 = new Dinov2LayerScale(config)
    this.attention_residual = new Residual('attention', width)
    this.mlp_residual = new Residual('feedForward', width)
  }

  /** @param hidden `[batch, tokens, hidden]` @returns the same shape */
  forward(hidden: Tensor, context: AttentionContext): Tensor {
    const attention = this.layer_scale1.forward(this.attention.forward(this.norm1.forward(hidden), context))
    const attended = this.attention_residual.forward(attention, hidden)
    return this.mlp_residual.forward(
      this.layer_scale2.forward(this.mlp.forward(this.norm2.forward(attended))),
      attended,
    )
  }
}
