/** @file Whisper (arXiv 2212.04356): from the spectrogram of half a minute of speech to its text. */
import type { Tensor } from '../../graph/index.ts'
import type { Linear, Module } from '../../nn/index.ts'
import type { WhisperConfig } from '../config.ts'
import { createLinear } from '../init.ts'
import {
  checkPositions,
  defaultPositions,
  type InputSpec,
  type ModelInputs,
  type ModelOutput,
  type ModelTask,
} from '../inputs.ts'
import { PreTrainedModel } from '../pretrained-model.ts'
import { decoderMasks, decoderTokens, needsEncoder, seq2seqInputSpecs, seq2seqLMOutput } from '../seq2seq.ts'
import { WhisperDecoder, WhisperEncoder } from './stack.ts'

/** What Whisper's models have in common. */
export abstract class WhisperPreTrainedModel extends PreTrainedModel<WhisperConfig> {
  static override readonly modelType: string = 'whisper'

  get baseModelPrefix(): string {
    return 'model'
  }

  get ignoredTensors(): readonly RegExp[] {
    return []
  }

  override inputSpecs(): Record<string, InputSpec> {
    const { d_model, max_source_positions: positions, num_mel_bins } = this.config
    const { input_ids, inputs_embeds, attention_mask, ...decoder } = seq2seqInputSpecs(this.task, d_model)
    return {
      input_features: { dtype: 'float32', shape: ['batch', num_mel_bins, 2 * positions] },
      ...decoder,
      encoder_hidden_states: { dtype: 'float32', shape: ['batch', positions, d_model], optional: true },
    }
  }
}

/** The bare encoder and decoder. */
export class WhisperModel extends WhisperPreTrainedModel {
  encoder: WhisperEncoder
  decoder: WhisperDecoder

  constructor(config: WhisperConfig) {
    super(config)
    this.encoder = new WhisperEncoder(config)
    this.decoder = new WhisperDecoder(config)
  }

  get task(): ModelTask {
    return 'FEATURE_EXTRACTION'
  }

  getInputEmbeddings(): Module {
    return this.decoder.embed_tokens
  }

  forward(inputs: ModelInputs): ModelOutput {
    const { cache } = inputs
    const source = needsEncoder(inputs) ? this.encode(inputs) : inputs.encoder_hidden_states
    const embedded = this.decoder.embed_tokens.forward(decoderTokens(inputs, this.config))
    const sequence = embedded.shape[1]
    const past = cache?.length ?? 0
    checkPositions(past, sequence, this.config.max_target_positions)
    const positions = inputs.decoder_position_ids ?? defaultPositions(embedded.graph, past, sequence)
    const { own } = decoderMasks(inputs, sequence, embedded)
    // Every recording is filled up to the same length, and silence is heard: nothing of it is masked.
    const states = this.decoder.forward(embedded, positions, { mask: own, cache }, { cache, source })
    return { last_hidden_state: states.at(-1)!, encoder_last_hidden_state: source, hidden_states: states }
  }

  private encode({ input_features: features }: ModelInputs): Tensor {
    const { label, max_source_positions, num_mel_bins } = this.config
    const expected = [num_mel_bins, 2 * max_source_positions]
    if (!features)
      throw new Error(`forward: got no input_features; Whisper hears them, [batch, ${expected.join(', ')}]`)
    if (features.shape.slice(1).join() === expected.join()) return this.encoder.forward(features)
    throw new Error(
      `forward: input_features have shape [${features.shape.join(', ')}], ${label} was made for ` +
        `[batch, ${expected.join(', ')}]; make them with WhisperFeatureExtractor, which fills up and cuts`,
    )
  }
}

/** Whisper that writes down what it hears. */
export class WhisperForConditionalGeneration extends WhisperPreTrainedModel {
  model: WhisperModel
  proj_out: Linear

  constructor(config: WhisperConfig) {
    super(config)
    this.model = new WhisperModel(config)
    this.proj_out = createLinear(config.d_model, config.vocab_size, config.init_std, false)
    if (config.tie_word_embeddings) this.proj_out.weight = this.model.decoder.embed_tokens.weight
  }

  get task(): ModelTask {
    return 'SEQ_2_SEQ_LM'
  }

  getInputEmbeddings(): Module {
    return this.model.getInputEmbeddings()
  }

  override getOutputEmbeddings(): Module {
    return this.proj_out
  }

  forward(inputs: ModelInputs): ModelOutput {
    return seq2seqLMOutput(this.proj_out, this.model.forward(inputs), inputs)
  }
}
