/** @file The configurations of Gemma, Gemma 2 and the text model of Gemma 3. */
import { type DecoderDefaults, type DecoderFields, type LayerType, readDecoder, readLayerTypes } from './decoder.ts'
import type { PretrainedConfig } from './pretrained.ts'
import type { ConfigReader } from './reader.ts'
import { type RopeParameters, readLayerRope } from './rope.ts'

interface GemmaFields extends DecoderFields {
  readonly attention_bias: boolean
}

/** The configuration of Gemma (`model_type` "gemma"). */
export interface GemmaConfig extends PretrainedConfig, GemmaFields {
  readonly model_type: 'gemma'
}

interface Gemma2Fields extends GemmaFields {
  /** Scores are divided by its root. */
  readonly query_pre_attn_scalar: number
  /** How far back a sliding layer sees, in tokens. */
  readonly sliding_window: number | null
  /** The kind of attention of each layer. */
  readonly layer_types: readonly LayerType[]
  /** The bound of the logits; `null` for none. */
  readonly final_logit_softcapping: number | null
  /** The bound of the attention's scores; `null` for none. */
  readonly attn_logit_softcapping: number | null
}

/** The configuration of Gemma 2 or 3. */
export interface Gemma2FamilyConfig extends PretrainedConfig, Gemma2Fields {}

/** The configuration of Gemma 2 (`model_type` "gemma2"). */
export interface Gemma2Config extends Gemma2FamilyConfig {
  readonly model_type: 'gemma2'
}

interface Gemma3Fields extends Gemma2Fields {
  /** The rotary positions of sliding layers; `rope_parameters` are those of the others. */
  readonly sliding_rope_parameters: RopeParameters
}

/** The configuration of the text model of Gemma 3 (`model_type` "gemma3_text"). */
export interface Gemma3Config extends Gemma2FamilyConfig, Gemma3Fields {
  readonly model_type: 'gemma3_text'
}

const DEFAULTS: DecoderDefaults = {
  pad_token_id: 0,
  bos_token_id: 2,
  eos_token_id: 1,
  vocab_size: 256000,
  hidden_size: 2304,
  intermediate_size: 9216,
  num_hidden_layers: 26,
  num_attention_heads: 8,
  num_key_value_heads: 4,
  head_dim: 256,
  max_position_embeddings: 8192,
  tie_word_embeddings: true,
  activation: ['hidden_activation', 'gelu_pytorch_tanh'],
}

/** Reads a Gemma configuration; absent keys are those of Gemma 7B. */
export function parseGemmaConfig(reader: ConfigReader): GemmaFields {
  const shared = readDecoder(reader, {
    ...DEFAULTS,
    hidden_size: 3072,
    intermediate_size: 24576,
    num_hidden_layers: 28,
    num_attention_heads: 16,
    num_key_value_heads: 16,
    activation: ['hidden_act', 'gelu_pytorch_tanh'],
  })
  refuseBidirectional(reader)
  // The first publications say "gelu" and mean its approximation.
  const hidden_act = shared.hidden_act === 'gelu' ? 'gelu_pytorch_tanh' : shared.hidden_act
  return { ...shared, hidden_act, attention_bias: reader.boolean('attention_bias', false) }
}

/** Reads a Gemma 2 configuration; absent keys are those of Gemma 2 2B. */
export function parseGemma2Config(reader: ConfigReader): Gemma2Fields {
  return readGemma2(reader, DEFAULTS, { pattern: 2, attentionCap: 50, logitCap: 30 })
}

/** Reads a configuration of Gemma 3's text model; absent keys are those of Transformers. */
export function parseGemma3Config(reader: ConfigReader): Gemma3Fields {
  const pattern = reader.optionalInteger('sliding_window_pattern', null) ?? 6
  const shared = readGemma2(
    reader,
    {
      ...DEFAULTS,
      vocab_size: 262208,
      max_position_embeddings: 131072,
      readRope: (_, length) =>
        readLayerRope(reader, 'full_attention', length, { thetaKey: 'rope_theta', theta: 1_000_000, scales: true }),
    },
    { pattern, attentionCap: null, logitCap: null },
  )
  const sliding_rope_parameters = readLayerRope(reader, 'sliding_attention', shared.max_position_embeddings, {
    thetaKey: 'rope_local_base_freq',
    theta: 10_000,
    scales: false,
  })
  return { ...shared, sliding_rope_parameters }
}

function readGemma2(
  reader: ConfigReader,
  defaults: DecoderDefaults,
  { pattern, attentionCap, logitCap }: { pattern: number; attentionCap: number | null; logitCap: number | null },
): Gemma2Fields {
  const shared = readDecoder(reader, defaults)
  refuseBidirectional(reader)
  return {
    ...shared,
    attention_bias: reader.boolean('attention_bias', false),
    query_pre_attn_scalar: reader.real('query_pre_attn_scalar', 256, { min: Number.MIN_VALUE }),
    sliding_window: reader.optionalInteger('sliding_window', 4096),
    layer_types: readLayerTypes(reader, shared.num_hidden_layers, layer => (layer + 1) % pattern !== 0),
    final_logit_softcapping: reader.optionalNumber('final_logit_softcapping', logitCap, { min: Number.MIN_VALUE }),
    attn_logit_softcapping: reader.optionalNumber('attn_logit_softcapping', attentionCap, { min: Number.MIN_VALUE }),
  }
}

function refuseBidirectional(reader: ConfigReader): void {
  if (!reader.get('use_bidirectional_attention')) return
  reader.fail(
    'use_bidirectional_attention',
    'false',
    'Every token sees those before it only; that is what is computed.',
  )
}
