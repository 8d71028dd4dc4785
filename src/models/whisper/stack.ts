/** @file Whisper's encoder of spectrograms and its decoder of tokens. */
import { add, gelu, range, type Tensor, transpose } from '../../graph/index.ts'
import {
  Conv1d,
  Dropout,
  Embedding,
  type Initializer,
  LayerNorm,
  Module,
  ModuleList,
  normalInit,
  Parameter,
  zerosInit,
} from '../../nn/index.ts'
import type { AttentionContext } from '../attention-context.ts'
import type { WhisperConfig } from '../config.ts'
import { embeddingInit } from '../init.ts'
import { WhisperDecoderLayer, WhisperEncoderLayer } from './layer.ts'

/** How much slower the last wave is than the first. */
const MAX_TIMESCALE = 10_000

/** Sines, then cosines, of waves that slow down from column to column. */
const sinusoids: Initializer = (_, [length, channels]) => {
  const half = channels / 2
  const slowdown = Math.log(MAX_TIMESCALE) / Math.max(half - 1, 1)
  return Float32Array.from({ length: length * channels }, (_, i) => {
    const [position, column] = [Math.floor(i / channels), i % channels]
    const angle = position * Math.exp(-slowdown * (column % half))
    return column < half ? Math.sin(angle) : Math.cos(angle)
  })
}

/** Whisper's encoder. */
export class WhisperEncoder extends Module {
  conv1: Conv1d
  conv2: Conv1d
  /** Waves, which training leaves as they are. */
  embed_positions: Embedding
  layers: ModuleList<WhisperEncoderLayer>
  layer_norm: LayerNorm
  dropout: Dropout

  constructor(config: WhisperConfig) {
    super()
    const { d_model: width, max_source_positions: positions } = config
    const options = { padding: 1, init: normalInit(config.init_std), biasInit: zerosInit }
    this.conv1 = new Conv1d(config.num_mel_bins, width, 3, options)
    this.conv2 = new Conv1d(width, width, 3, { ...options, stride: 2 })
    this.embed_positions = new Embedding(positions, width)
    this.embed_positions.weight = new Parameter([positions, width], { init: sinusoids, requiresGrad: false })
    this.layers = new ModuleList(Array.from({ length: config.encoder_layers }, () => new WhisperEncoderLayer(config)))
    this.layer_norm = new LayerNorm(width)
    this.dropout = new Dropout(config.dropout)
  }

  /** @param features `[batch, mels, 2 * positions]` @returns `[batch, positions, hidden]` */
  forward(features: Tensor): Tensor {
    const heard = gelu(this.conv2.forward(gelu(this.conv1.forward(features))))
    const positions = this.embed_positions.forward(range(features.graph, this.embed_positions.numEmbeddings))
    let hidden = this.dropout.forward(add(transpose(heard, [0, 2, 1]), positions))
    for (const [layer, block] of [...this.layers].entries()) hidden = block.forward(hidden, { layer })
    return this.layer_norm.forward(hidden)
  }
}

/** Whisper's decoder. */
export class WhisperDecoder extends Module {
  embed_tokens: Embedding
  embed_positions: Embedding
  layers: ModuleList<WhisperDecoderLayer>
  layer_norm: LayerNorm
  dropout: Dropout

  constructor(config: WhisperConfig) {
    super()
    const { d_model: width, init_std: range, pad_token_id: paddingIndex } = config
    this.embed_tokens = new Embedding(config.vocab_size, width, {
      init: embeddingInit(range, paddingIndex),
      paddingIndex,
    })
    this.embed_positions = new Embedding(config.max_target_positions, width, { init: embeddingInit(range) })
    this.layers = new ModuleList(Array.from({ length: config.decoder_layers }, () => new WhisperDecoderLayer(config)))
    this.layer_norm = new LayerNorm(width)
    this.dropout = new Dropout(config.dropout)
  }

  /**
   * @param tokens embedded, `[batch, target, hidden]`
   * @param positions int64 `[batch or 1, target]`
   * @returns the embeddings, then each layer's output, the last one normalised
   */
  forward(
    tokens: Tensor,
    positions: Tensor,
    own: Omit<AttentionContext, 'layer'>,
    cross: Omit<AttentionContext, 'layer'>,
  ): Tensor[] {
    const states = [this.dropout.forward(add(tokens, this.embed_positions.forward(positions)))]
    for (const block of this.layers) {
      const layer = states.length - 1
      states.push(block.forward(states.at(-1)!, { ...own, layer }, { ...cross, layer }))
    }
    return [...states.slice(0, -1), this.layer_norm.forward(states.at(-1)!)]
  }
}
