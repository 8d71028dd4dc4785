/** @file One layer of CLIP, the same in both towers: normalisations in front of the sublayers. */
import type { Tensor } from '../../graph/index.ts'
import {
  type Activation,
  getActivation,
  LayerNorm,
  type Linear,
  Module,
  ModuleList,
  mergeHeads,
  Residual,
  splitHeads,
} from '../../nn/index.ts'
import { type AttentionContext, AttentionModule, cachedAttention } from '../attention-context.ts'
import type { CLIPTowerFields } from '../config/clip.ts'
import { createLinear } from '../init.ts'

/** The deviation of the first values of layers before the residual stream, which gets the sum of many. */
function innerDeviation({ hidden_size, num_hidden_layers, initializer_factor }: CLIPTowerFields): number {
  return initializer_factor / Math.sqrt(hidden_size * 2 * num_hidden_layers)
}

/** CLIP's attention. */
export class CLIPAttention extends AttentionModule {
  readonly numHeads: number
  readonly attentionDropout: number
  k_proj: Linear
  v_proj: Linear
  q_proj: Linear
  out_proj: Linear

  constructor(config: CLIPTowerFields) {
    const { hidden_size: width, num_attention_heads: heads, initializer_factor: factor } = config
    super({ role: 'encoder', numKeyValueHeads: heads, headWidth: width / heads })
    const inner = innerDeviation(config)
    this.numHeads = heads
    this.attentionDropout = config.attention_dropout
    this.k_proj = createLinear(width, width, inner)
    this.v_proj = createLinear(width, width, inner)
    this.q_proj = createLinear(width, width, inner)
    this.out_proj = createLinear(width, width, factor / Math.sqrt(width))
  }

  /** @param hidden `[batch, sequence, hidden]` @returns the same shape */
  forward(hidden: Tensor, context: AttentionContext): Tensor {
    const split = (projection: Linear) => splitHeads(projection.forward(hidden), this.numHeads)
    const [query, key, value] = [split(this.q_proj), split(this.k_proj), split(this.v_proj)]
    const options = { dropout: this.attentionDropout }
    return this.out_proj.forward(mergeHeads(cachedAttention(query, key, value, context, options)))
  }
}

/** The feed-forward network. */
export class CLIPMLP extends Module {
  readonly activation: Activation
  fc1: Linear
  fc2: Linear

  constructor(config: CLIPTowerFields) {
    super()
    const { hidden_size: width, intermediate_size: inner, initializer_factor: factor } = config
    this.activation = getActivation(config.hidden_act)
    this.fc1 = createLinear(width, inner, factor / Math.sqrt(2 * width))
    this.fc2 = createLinear(inner, width, innerDeviation(config))
  }

  forward(hidden: Tensor): Tensor {
    return this.fc2.forward(this.activation(this.fc1.forward(hidden)))
  }
}

/** A layer of CLIP. */
export class CLIPEncoderLayer extends Module {
  self_attn: CLIPAttention
  layer_norm1: LayerNorm
  mlp: CLIPMLP
  layer_norm2: LayerNorm
  attention_residual: Residual
  mlp_residual: Residual

  constructor(config: CLIPTowerFields) {
    super()
    const { hidden_size: width, layer_norm_eps: eps } = config
    this.self_attn = new CLIPAttention(config)
    this.layer_norm1 = new LayerNorm(width, { eps })
    this.mlp = new CLIPMLP(config)
    this.layer_norm2 = new LayerNorm(width, { eps })
    this.attention_residual = new Residual('attention', width)
    this.mlp_residual = new Residual('feedForward', width)
  }

  /** @param hidden `[batch, sequence, hidden]` @returns the same shape */
  forward(hidden: Tensor, context: AttentionContext): Tensor {
    const attention = this.self_attn.forward(this.layer_norm1.forward(hidden), context)
    const attended = this.attention_residual.forward(attention, hidden)
    return this.mlp_residual.forward(this.mlp.forward(this.layer_norm2.forward(attended)), attended)
  }
}

/** The layers of a tower in a row. */
export class CLIPEncoder extends Module {
  layers: ModuleList<CLIPEncoderLayer>

  constructor(config: CLIPTowerFields) {
    super()
    this.layers = new ModuleList(Array.from({ length: config.num_hidden_layers }, () => new CLIPEncoderLayer(config)))
  }

  /** @returns the input, then each layer's output */
  forward(hidden: Tensor, context: Omit<AttentionContext, 'layer'>): Tensor[] {
    const states = [hidden]
    for (const layer of this.layers)
      states.push(layer.forward(states.at(-1)!, { ...context, layer: states.length - 1 }))
    return states
  }
}
