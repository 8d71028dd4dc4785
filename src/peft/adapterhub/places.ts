/** @file Where AdapterHub puts things in each architecture: from the paths of this library's tree to AdapterHub's names. */
import { PreTrainedModel } from '../../models/index.ts'
import type { Module } from '../../nn/index.ts'
import type { ModelFacts } from '../method.ts'

/** What is particular about an architecture in AdapterHub. */
export interface HubPlaces {
  /** Path endings that AdapterHub names differently: an expression and what takes its place. */
  readonly names: readonly (readonly [RegExp, string])[]
  /** The module whose result is the embedded sequence, in the base model: what an invertible adapter changes. */
  readonly embeddings: string
  /** Where the invertible adapters stand in the base model; in the base model itself by default. */
  readonly invertible?: string
  /** What `adapter_interface.json` says, for the models that AdapterHub runs through an interface. */
  readonly interface?: Readonly<Record<string, unknown>>
}

/** A residual connection that stands where AdapterHub's adapter layer stands. */
const ITSELF: HubPlaces['names'] = [[/\.residual\./, '.']]

/** The names of the adapter layers that most architectures get. */
const LAYERS: HubPlaces['names'] = [
  [/\.cross_attention_residual\./, '.cross_attention_adapters.'],
  [/\.attention_residual\./, '.attention_adapters.'],
  [/\.mlp_residual\./, '.output_adapters.'],
]

const BERT: HubPlaces = { names: ITSELF, embeddings: 'embeddings.dropout' }
const LLAMA: HubPlaces = { names: LAYERS, embeddings: 'embed_tokens' }
const T5: HubPlaces = { names: ITSELF, embeddings: 'encoder.embed_tokens', invertible: 'encoder' }

const LLAMA_INTERFACE = {
  adapter_methods: ['bottleneck', 'lora', 'reft', 'invertible'],
  attn_k_proj: 'k_proj',
  attn_o_proj: 'o_proj',
  attn_q_proj: 'q_proj',
  attn_qkv_proj: null,
  attn_v_proj: 'v_proj',
  base_model: null,
  layer_cross_attn: null,
  layer_intermediate_proj: 'mlp.up_proj',
  layer_ln_1: null,
  layer_ln_2: null,
  layer_output_proj: 'mlp.down_proj',
  layer_pre_cross_attn: null,
  layer_pre_ffn: 'post_attention_layernorm',
  layer_pre_self_attn: 'input_layernorm',
  layer_self_attn: 'self_attn',
  model_embeddings: 'embed_tokens',
  model_layers: 'layers',
}

const PLACES: Readonly<Record<string, HubPlaces>> = {
  bart: { names: LAYERS, embeddings: 'encoder.dropout', invertible: 'encoder' },
  bert: BERT,
  distilbert: { names: LAYERS, embeddings: 'embeddings.dropout' },
  gpt2: { names: LAYERS, embeddings: 'drop' },
  llama: LLAMA,
  mistral: LLAMA,
  mt5: T5,
  qwen2: { ...LLAMA, interface: LLAMA_INTERFACE },
  qwen3: { ...LLAMA, interface: LLAMA_INTERFACE },
  roberta: BERT,
  t5: T5,
  vit: {
    names: [
      [/\.attention_residual\./, '.attention_adapters.'],
      [/\.mlp_residual\./, '.output.output_adapters.'],
      [/\.attention\.prefix_tuning\./, '.attention.attention.prefix_tuning.'],
    ],
    embeddings: 'embeddings.dropout',
  },
  'xlm-roberta': BERT,
}

/** The model types whose places are known. */
export const HUB_MODEL_TYPES: readonly string[] = Object.keys(PLACES)

/** The places of a model type; undefined for one that is not known. */
export function hubPlaces(modelType: string): HubPlaces | undefined {
  return Object.hasOwn(PLACES, modelType) ? PLACES[modelType] : undefined
}

/** The path of the base model within a model, with a dot after it; empty where the model has no head. */
export function basePrefix({ base }: Pick<ModelFacts, 'base'>): string {
  const { baseModel, baseModelPrefix } = base as Module & { baseModel?: Module; baseModelPrefix?: string }
  return baseModel === undefined || baseModel === base ? '' : `${baseModelPrefix}.`
}

/** What an adapter owns beside its layers and where AdapterHub keeps it. */
const ROOTS: readonly [RegExp, (model: ModelFacts) => string][] = [
  [/^.*?\bshared_parameters\./, model => `${basePrefix(model)}shared_parameters.`],
  [/^.*?\binvertible_adapters\./, model => `${invertiblePrefix(model)}invertible_adapters.`],
  [/^.*?\bprompt_tuning\./, model => `${basePrefix(model)}prompt_tuning.`],
]

function invertiblePrefix(model: ModelFacts): string {
  const inner = hubPlaces(model.modelType)?.invertible
  return `${basePrefix(model)}${inner ? `${inner}.` : ''}`
}

/** AdapterHub's name of the parameter at `path` of a model with adapters; the adapter's name is a part of both. */
export function hubName(path: string, model: ModelFacts): string {
  for (const [expression, root] of ROOTS) {
    if (expression.test(path)) return path.replace(expression, () => root(model))
  }
  const inModel = path.replace(/^base_model\.(model\.)?/, '')
  const names = hubPlaces(model.modelType)?.names ?? LAYERS
  const inHub = names.reduce((name, [expression, replacement]) => name.replace(expression, replacement), inModel)
  // The Transformers that AdapterHub runs on names modules as checkpoints do.
  return model.base instanceof PreTrainedModel ? model.base.checkpointName(inHub) : inHub
}
