/** @file T5 (arXiv 1910.10683): encoder and decoder, bare or with a head. Kindred architectures override what differs. */
import { mul, type Tensor } from '../../graph/index.ts'
import { Embedding, type Linear, type Module, normalInit, paddingMask } from '../../nn/index.ts'
import type { T5Config, T5FamilyConfig } from '../config.ts'
import { createLinear } from '../init.ts'
import {
  defaultPositions,
  embedTokens,
  graphOfInputs,
  type InputSpec,
  type ModelInputs,
  type ModelOutput,
  type ModelTask,
} from '../inputs.ts'
import { PreTrainedModel } from '../pretrained-model.ts'
import { decoderMasks, decoderTokens, needsEncoder, seq2seqInputSpecs, seq2seqLMOutput } from '../seq2seq.ts'
import { RelativeBias } from './relative-bias.ts'
import { T5Stack } from './stack.ts'

/** A table that the first checkpoints hold and that no model reads. */
const IGNORED = [/^decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight$/]

/** What T5's models have in common: an encoder and a decoder over one table of embeddings. */
export abstract class T5PreTrainedModel<C extends T5FamilyConfig = T5Config> extends PreTrainedModel<C> {
  static override readonly modelType: string = 't5'
  shared: Embedding
  encoder: T5Stack
  decoder: T5Stack

  constructor(config: C) {
    super(config)
    this.shared = new Embedding(config.vocab_size, config.d_model, { init: normalInit(config.initializer_factor) })
    this.encoder = new T5Stack(config, 'encoder')
    this.decoder = new T5Stack(config, 'decoder')
    for (const stack of [this.encoder, this.decoder]) stack.embed_tokens.weight = this.shared.weight
  }

  get baseModelPrefix(): string {
    return 'transformer'
  }

  get ignoredTensors(): readonly RegExp[] {
    return IGNORED
  }

  getInputEmbeddings(): Module {
    return this.shared
  }

  override inputSpecs(): Record<string, InputSpec> {
    return seq2seqInputSpecs(this.task, this.config.d_model)
  }

  /** Runs the encoder, where its result is needed, and the decoder. */
  protected run(inputs: ModelInputs): ModelOutput {
    const { cache } = inputs
    const source = needsEncoder(inputs) ? this.encode(inputs) : inputs.encoder_hidden_states
    const embedded = this.decoder.embed_tokens.forward(decoderTokens(inputs, this.config))
    const sequence = embedded.shape[1]
    const past = cache?.length ?? 0
    const positions = inputs.decoder_position_ids ?? defaultPositions(embedded.graph, past, sequence)
    const relativeBias = new RelativeBias(positions, past, this.bucketOptions(false))
    const mask = decoderMasks(inputs, sequence, embedded)
    const states = this.decoder.forward(embedded, layer => ({
      self: { layer, mask: mask.own, cache, relativeBias },
      cross: { layer, mask: mask.cross, cache, source },
    }))
    return { last_hidden_state: states.at(-1)!, encoder_last_hidden_state: source, hidden_states: states }
  }

  private encode(inputs: ModelInputs) {
    const { attention_mask } = inputs
    const embedded = embedTokens(this.encoder.embed_tokens, inputs)
    const positions = defaultPositions(graphOfInputs(inputs), 0, embedded.shape[1])
    const relativeBias = new RelativeBias(positions, 0, this.bucketOptions(true))
    const mask = attention_mask && paddingMask(attention_mask)
    return this.encoder.forward(embedded, layer => ({ self: { layer, mask, relativeBias } })).at(-1)!
  }

  private bucketOptions(bidirectional: boolean) {
    const { relative_attention_num_buckets: buckets, relative_attention_max_distance: maxDistance } = this.config
    return { bidirectional, buckets, maxDistance }
  }
}

/** The bare encoder and decoder. */
export class T5Model<C extends T5FamilyConfig = T5Config> extends T5PreTrainedModel<C> {
  get task(): ModelTask {
    return 'FEATURE_EXTRACTION'
  }

  forward(inputs: ModelInputs): ModelOutput {
    return this.run(inputs)
  }
}

/** T5 that writes a text from a text. */
export class T5ForConditionalGeneration<C extends T5FamilyConfig = T5Config> extends T5PreTrainedModel<C> {
  lm_head: Linear

  constructor(config: C) {
    super(config)
    this.lm_head = createLinear(config.d_model, config.vocab_size, config.initializer_factor, false)
    if (config.tie_word_embeddings) this.lm_head.weight = this.shared.weight
  }

  get task(): ModelTask {
    return 'SEQ_2_SEQ_LM'
  }

  override getOutputEmbeddings(): Module {
    return this.lm_head
  }

  forward(inputs: ModelInputs): ModelOutput {
    const output = this.run(inputs)
    const { d_model, scale_decoder_outputs } = this.config
    if (!scale_decoder_outputs) return seq2seqLMOutput(this.lm_head, output, inputs)
    const head = { forward: (x: Tensor) => this.lm_head.forward(mul(x, 1 / Math.sqrt(d_model))) }
    return seq2seqLMOutput(head, output, inputs)
  }
}
