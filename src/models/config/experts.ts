/** @file What the configurations of mixtures of experts share, and those of Qwen3-MoE and Mixtral. */
import { type DecoderFields, readDecoder } from './decoder.ts'
import type { PretrainedConfig } from './pretrained.ts'
import type { ConfigReader } from './reader.ts'

/** The common name of the number of experts, and the one that is written. */
export const EXPERTS_ATTRIBUTE_MAP = { num_experts: 'num_local_experts' } as const

/** The experts of a layer. */
export interface ExpertFields {
  readonly num_local_experts: number
  /** How many experts compute each token. */
  readonly num_experts_per_tok: number
  /** Whether the loss counts how evenly the experts are used. */
  readonly output_router_logits: boolean
  readonly router_aux_loss_coef: number
}

interface Qwen3MoeFields extends DecoderFields, ExpertFields {
  readonly attention_bias: boolean
  readonly use_sliding_window: boolean
  /** How far back every layer sees, in tokens; `null` unless `use_sliding_window`. */
  readonly sliding_window: number | null
  /** Every so many layers have experts. */
  readonly decoder_sparse_step: number
  /** The inner width of an expert. */
  readonly moe_intermediate_size: number
  /** Whether the weights of the chosen experts are made to add up to one. */
  readonly norm_topk_prob: boolean
  /** The layers without experts. */
  readonly mlp_only_layers: readonly number[]
}

/** The configuration of Qwen3-MoE (`model_type` "qwen3_moe"). */
export interface Qwen3MoeConfig extends PretrainedConfig, Qwen3MoeFields {
  readonly model_type: 'qwen3_moe'
}

interface MixtralFields extends DecoderFields, ExpertFields {
  /** How far back every layer sees, in tokens; `null` for all. */
  readonly sliding_window: number | null
  readonly router_jitter_noise: number
}

/** The configuration of Mixtral (`model_type` "mixtral"). */
export interface MixtralConfig extends PretrainedConfig, MixtralFields {
  readonly model_type: 'mixtral'
}

/** Reads a Qwen3-MoE configuration; absent keys are those of Transformers. */
export function parseQwen3MoeConfig(reader: ConfigReader): Qwen3MoeFields {
  const shared = readDecoder(reader, {
    pad_token_id: null,
    bos_token_id: null,
    eos_token_id: null,
    vocab_size: 151936,
    hidden_size: 2048,
    intermediate_size: 6144,
    num_hidden_layers: 24,
    max_position_embeddings: 32768,
    num_key_value_heads: 4,
  })
  const use_sliding_window = reader.boolean('use_sliding_window', false)
  const window = reader.optionalInteger('sliding_window', 4096)
  return {
    ...shared,
    ...readExperts(reader, 128, 8),
    attention_bias: reader.boolean('attention_bias', false),
    use_sliding_window,
    sliding_window: use_sliding_window ? window : null,
    decoder_sparse_step: reader.integer('decoder_sparse_step', 1),
    moe_intermediate_size: reader.integer('moe_intermediate_size', 768),
    norm_topk_prob: reader.boolean('norm_topk_prob', false),
    mlp_only_layers: readLayerNumbers(reader),
  }
}

/** Reads a Mixtral configuration; absent keys are those of Mixtral 8x7B. */
export function parseMixtralConfig(reader: ConfigReader): MixtralFields {
  const shared = readDecoder(reader, {
    pad_token_id: null,
    bos_token_id: 1,
    eos_token_id: 2,
    vocab_size: 32000,
    intermediate_size: 14336,
    max_position_embeddings: 131072,
    num_key_value_heads: 8,
    rms_norm_eps: 1e-5,
    rope_theta: 1_000_000,
  })
  return {
    ...shared,
    ...readExperts(reader, 8, 2),
    sliding_window: reader.optionalInteger('sliding_window', null),
    router_jitter_noise: reader.number('router_jitter_noise', 0, { min: 0 }),
  }
}

function readExperts(reader: ConfigReader, experts: number, chosen: number): ExpertFields {
  const num_local_experts = reader.integer('num_local_experts', experts)
  return {
    num_local_experts,
    num_experts_per_tok: reader.integer('num_experts_per_tok', chosen, { max: num_local_experts }),
    output_router_logits: reader.boolean('output_router_logits', false),
    router_aux_loss_coef: reader.number('router_aux_loss_coef', 0.001, { min: 0 }),
  }
}

function readLayerNumbers(reader: ConfigReader): readonly number[] {
  const value = reader.get('mlp_only_layers') ?? []
  if (Array.isArray(value) && value.every(layer => Number.isInteger(layer) && layer >= 0)) return value
  return reader.fail('mlp_only_layers', 'a list of layer numbers or null')
}
