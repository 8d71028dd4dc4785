/** @file BART's encoder and decoder: embeddings and layers in a row. */
import { add, type Tensor } from '../../graph/index.ts'
import { Dropout, LayerNorm, Module, ModuleList } from '../../nn/index.ts'
import type { AttentionContext } from '../attention-context.ts'
import type { BartConfig } from '../config.ts'
import { BartLearnedPositionalEmbedding, BartScaledWordEmbedding } from './embeddings.ts'
import { BartDecoderLayer, BartEncoderLayer } from './layer.ts'

/** What both have: embeddings of tokens and positions, and layers. */
abstract class BartStack<L extends Module> extends Module {
  embed_tokens: BartScaledWordEmbedding
  embed_positions: BartLearnedPositionalEmbedding
  layers: ModuleList<L>
  layernorm_embedding: LayerNorm
  dropout: Dropout

  constructor(config: BartConfig, layers: readonly L[]) {
    super()
    this.embed_tokens = new BartScaledWordEmbedding(config)
    this.embed_positions = new BartLearnedPositionalEmbedding(config)
    this.layers = new ModuleList(layers)
    this.layernorm_embedding = new LayerNorm(config.d_model)
    this.dropout = new Dropout(config.dropout)
  }

  /**
   * @param tokens `[batch, sequence, hidden]`
   * @param positions int64 `[batch or 1, sequence]`
   */
  protected place(tokens: Tensor, positions: Tensor): Tensor {
    const placed = add(tokens, this.embed_positions.forward(positions))
    return this.dropout.forward(this.layernorm_embedding.forward(placed))
  }
}

/** BART's encoder. */
export class BartEncoder extends BartStack<BartEncoderLayer> {
  constructor(config: BartConfig) {
    super(
      config,
      Array.from({ length: config.encoder_layers }, () => new BartEncoderLayer(config)),
    )
  }

  /** @returns the embeddings, then each layer's output */
  forward(tokens: Tensor, positions: Tensor, mask: Tensor | undefined): Tensor[] {
    const states = [this.place(tokens, positions)]
    for (const layer of this.layers) states.push(layer.forward(states.at(-1)!, { layer: states.length - 1, mask }))
    return states
  }
}

/** BART's decoder. */
export class BartDecoder extends BartStack<BartDecoderLayer> {
  constructor(config: BartConfig) {
    super(
      config,
      Array.from({ length: config.decoder_layers }, () => new BartDecoderLayer(config)),
    )
  }

  /** @returns the embeddings, then each layer's output */
  forward(
    tokens: Tensor,
    positions: Tensor,
    own: Omit<AttentionContext, 'layer'>,
    cross: Omit<AttentionContext, 'layer'>,
  ): Tensor[] {
    const states = [this.place(tokens, positions)]
    for (const block of this.layers) {
      const layer = states.length - 1
      states.push(block.forward(states.at(-1)!, { ...own, layer }, { ...cross, layer }))
    }
    return states
  }
}
