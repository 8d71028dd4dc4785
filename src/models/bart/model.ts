/** @file BART (arXiv 1910.13461): encoder and decoder, bare or with a head. */
import { add, type Tensor } from '../../graph/index.ts'
import { type Linear, type Module, Parameter, paddingMask, zerosInit } from '../../nn/index.ts'
import type { BartConfig } from '../config.ts'
import { createLinear } from '../init.ts'
import {
  checkPositions,
  defaultPositions,
  embedTokens,
  type InputSpec,
  type ModelInputs,
  type ModelOutput,
  type ModelTask,
} from '../inputs.ts'
import { PreTrainedModel } from '../pretrained-model.ts'
import {
  decoderMasks,
  decoderTokens,
  needsEncoder,
  seq2seqInputSpecs,
  seq2seqLMOutput,
  shiftRight,
} from '../seq2seq.ts'
import { BartScaledWordEmbedding } from './embeddings.ts'
import { BartDecoder, BartEncoder } from './stack.ts'

const IGNORED = [/(^|\.)(encoder|decoder)\.version$/]

/** What BART's models have in common. */
export abstract class BartPreTrainedModel extends PreTrainedModel<BartConfig> {
  static override readonly modelType: string = 'bart'

  get baseModelPrefix(): string {
    return 'model'
  }

  get ignoredTensors(): readonly RegExp[] {
    return IGNORED
  }

  override inputSpecs(): Record<string, InputSpec> {
    return seq2seqInputSpecs(this.task, this.config.d_model)
  }
}

/** The bare encoder and decoder. */
export class BartModel extends BartPreTrainedModel {
  shared: BartScaledWordEmbedding
  encoder: BartEncoder
  decoder: BartDecoder

  constructor(config: BartConfig) {
    super(config)
    this.shared = new BartScaledWordEmbedding(config)
    this.encoder = new BartEncoder(config)
    this.decoder = new BartDecoder(config)
    for (const stack of [this.encoder, this.decoder]) stack.embed_tokens.weight = this.shared.weight
  }

  get task(): ModelTask {
    return 'FEATURE_EXTRACTION'
  }

  getInputEmbeddings(): Module {
    return this.shared
  }

  forward(inputs: ModelInputs): ModelOutput {
    const { cache } = inputs
    const source = needsEncoder(inputs) ? this.encode(inputs) : inputs.encoder_hidden_states
    const embedded = this.decoder.embed_tokens.forward(this.tokensOfDecoder(inputs))
    const sequence = embedded.shape[1]
    const past = cache?.length ?? 0
    checkPositions(past, sequence, this.config.max_position_embeddings)
    const positions = inputs.decoder_position_ids ?? defaultPositions(embedded.graph, past, sequence)
    const mask = decoderMasks(inputs, sequence, embedded)
    const states = this.decoder.forward(
      embedded,
      positions,
      { mask: mask.own, cache },
      { mask: mask.cross, cache, source },
    )
    return { last_hidden_state: states.at(-1)!, encoder_last_hidden_state: source, hidden_states: states }
  }

  /** Without tokens and labels the decoder reads the encoder's tokens, as in BART's pre-training. */
  private tokensOfDecoder(inputs: ModelInputs): Tensor {
    const { decoder_input_ids, labels, input_ids } = inputs
    if (decoder_input_ids || labels || !input_ids) return decoderTokens(inputs, this.config)
    return shiftRight(input_ids, this.config)
  }

  private encode(inputs: ModelInputs): Tensor {
    const { attention_mask } = inputs
    const embedded = embedTokens(this.encoder.embed_tokens, inputs)
    const sequence = embedded.shape[1]
    checkPositions(0, sequence, this.config.max_position_embeddings)
    const mask = attention_mask && paddingMask(attention_mask)
    return this.encoder.forward(embedded, defaultPositions(embedded.graph, 0, sequence), mask).at(-1)!
  }
}

/** BART that writes a text from a text. */
export class BartForConditionalGeneration extends BartPreTrainedModel {
  model: BartModel
  lm_head: Linear
  /** A constant that checkpoints hold, `[1, vocabulary]`, zero in all that are known. */
  final_logits_bias: Parameter

  constructor(config: BartConfig) {
    super(config)
    this.model = new BartModel(config)
    this.lm_head = createLinear(config.d_model, config.vocab_size, config.init_std, false)
    if (config.tie_word_embeddings) this.lm_head.weight = this.model.shared.weight
    this.final_logits_bias = new Parameter([1, config.vocab_size], { init: zerosInit, isBuffer: true })
  }

  get task(): ModelTask {
    return 'SEQ_2_SEQ_LM'
  }

  getInputEmbeddings(): Module {
    return this.model.getInputEmbeddings()
  }

  override getOutputEmbeddings(): Module {
    return this.lm_head
  }

  forward(inputs: ModelInputs): ModelOutput {
    const head = { forward: (x: Tensor) => add(this.lm_head.forward(x), this.final_logits_bias) }
    return seq2seqLMOutput(head, this.model.forward(inputs), inputs)
  }
}
