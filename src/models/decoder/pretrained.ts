/** @file What decoders share, with a head over them or without. */
import type { TextConfig } from '../pretrained-model.ts'
import { PreTrainedModel } from '../pretrained-model.ts'

const IGNORED = [/(^|\.)rotary_emb\.inv_freq$/]

/** What decoders have in common. The base model stands under the name `model` unless an architecture says otherwise. */
export abstract class DecoderPreTrainedModel<C extends TextConfig> extends PreTrainedModel<C> {
  get baseModelPrefix(): string {
    return 'model'
  }

  get ignoredTensors(): readonly RegExp[] {
    return IGNORED
  }
}
