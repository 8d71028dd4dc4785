/** @file A stack of T5's blocks: the encoder or the decoder. */
import type { Tensor } from '../../graph/index.ts'
import { Dropout, Embedding, Module, ModuleList, normalInit, RMSNorm } from '../../nn/index.ts'
import type { T5FamilyConfig } from '../config.ts'
import { T5Block, type T5BlockContext } from './block.ts'

/** The encoder or the decoder of T5. */
export class T5Stack extends Module {
  embed_tokens: Embedding
  block: ModuleList<T5Block>
  final_layer_norm: RMSNorm
  dropout: Dropout

  constructor(config: T5FamilyConfig, role: 'encoder' | 'decoder') {
    super()
    const count = role === 'encoder' ? config.num_layers : config.num_decoder_layers
    this.embed_tokens = new Embedding(config.vocab_size, config.d_model, {
      init: normalInit(config.initializer_factor),
    })
    this.block = new ModuleList(Array.from({ length: count }, (_, i) => new T5Block(config, role, i === 0)))
    this.final_layer_norm = new RMSNorm(config.d_model, { eps: config.layer_norm_epsilon })
    this.dropout = new Dropout(config.dropout_rate)
  }

  /**
   * @param embedded `[batch, sequence, hidden]`
   * @param contextOf what the blocks are given, by their position
   * @returns the input, then each block's output, the last one normalised
   */
  forward(embedded: Tensor, contextOf: (layer: number) => T5BlockContext): Tensor[] {
    const states = [this.dropout.forward(embedded)]
    for (const block of this.block) states.push(block.forward(states.at(-1)!, contextOf(states.length - 1)))
    return [...states.slice(0, -1), this.dropout.forward(this.final_layer_norm.forward(states.at(-1)!))]
  }
}
