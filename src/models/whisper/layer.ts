/** @file The layers of Whisper: BART's with the normalisations in front, and keys without a bias. */
import type { AttentionRole } from '../attention-context.ts'
import { BartAttention, type BartLayerConfig } from '../bart/attention.ts'
import { BartDecoderLayer, BartEncoderLayer } from '../bart/layer.ts'

/** A layer of the encoder. */
export class WhisperEncoderLayer extends BartEncoderLayer {
  protected override get normalizesFirst(): boolean {
    return true
  }

  protected override createAttention(config: BartLayerConfig, role: AttentionRole): BartAttention {
    return new BartAttention(config, role, { keyBias: false })
  }
}

/** A layer of the decoder. */
export class WhisperDecoderLayer extends BartDecoderLayer {
  protected override get normalizesFirst(): boolean {
    return true
  }

  protected override createAttention(config: BartLayerConfig, role: AttentionRole): BartAttention {
    return new BartAttention(config, role, { keyBias: false })
  }
}
